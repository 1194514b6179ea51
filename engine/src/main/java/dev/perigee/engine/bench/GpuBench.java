package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.Cuda;
import dev.perigee.engine.cuda.Device;
import dev.perigee.engine.cuda.DeviceArena;
import dev.perigee.engine.cuda.DeviceBuffer;
import dev.perigee.engine.cuda.GroupedGemm;
import dev.perigee.engine.cuda.Launch;
import dev.perigee.engine.cuda.RandomNormal;
import dev.perigee.engine.cuda.Stream;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Optional;
import java.util.Random;

/** First timings. */
public final class GpuBench {
  private GpuBench() {}

  /** Runs. */
  public static void main(String[] args) {
    Optional<String> why = Cuda.whyAbsent();
    if (why.isPresent()) {
      System.err.println(why.get());
      System.exit(1);
    }
    try (Device device = Device.open(0);
        DeviceArena arena = device.arena()) {
      System.out.println(device.name());
      Stream stream = device.compute();
      int sms = device.multiprocessors();
      int rows = 49152;
      int experts = 64;
      int[] counts = new int[experts];
      Random random = new Random(1);
      for (int i = 0; i < rows; i++) {
        counts[random.nextInt(experts)]++;
      }
      ByteBuffer host = arena.pinned(4L * (experts + 1));
      int at = 0;
      host.putInt(0);
      for (int c : counts) {
        host.putInt(at += c);
      }
      DeviceBuffer offsets = arena.allocate(4L * (experts + 1));
      stream.upload(host.flip(), offsets);
      int hidden = 2048;
      int width = 1408;
      GroupedGemm.Sizes up = new GroupedGemm.Sizes(experts, rows, hidden, 2 * width);
      GroupedGemm.Sizes down = new GroupedGemm.Sizes(experts, rows, width, hidden);
      DeviceBuffer x = normal(arena, stream, 2L * rows * hidden, 1, 1f);
      DeviceBuffer w13 = normal(arena, stream, 4L * experts * width * hidden, 2, 0.02f);
      DeviceBuffer w2 = normal(arena, stream, 2L * experts * width * hidden, 3, 0.02f);
      DeviceBuffer h = normal(arena, stream, 4L * rows * width, 4, 1f);
      DeviceBuffer a = normal(arena, stream, 2L * rows * width, 5, 1f);
      DeviceBuffer y = normal(arena, stream, 2L * rows * hidden, 6, 1f);
      DeviceBuffer dw = arena.allocate(4L * experts * width * hidden);
      time(stream, "up", up.flops(), GroupedGemm.forward(sms, up, x, w13, offsets, h));
      time(stream, "up+swiglu", up.flops(), GroupedGemm.forwardSwiGlu(sms, up, x, w13, offsets, h, a));
      time(stream, "down", down.flops(), GroupedGemm.forward(sms, down, a, w2, offsets, y));
      time(stream, "up dx", up.flops(), GroupedGemm.inputGradient(sms, up, h, w13, offsets, y));
      time(stream, "down dx", down.flops(), GroupedGemm.inputGradient(sms, down, x, w2, offsets, a));
      time(stream, "up dw", up.flops(), GroupedGemm.weightGradient(sms, up, h, x, offsets, dw));
      time(stream, "down dw", down.flops(), GroupedGemm.weightGradient(sms, down, x, a, offsets, dw));
    }
  }

  private static DeviceBuffer normal(DeviceArena arena, Stream s, long bytes, int seed, float deviation) {
    DeviceBuffer b = arena.allocate(bytes);
    s.launch(RandomNormal.fill(b, seed, deviation));
    return b;
  }

  private static void time(Stream stream, String what, double flops, Launch launch) {
    for (int i = 0; i < 5; i++) {
      stream.launch(launch);
    }
    double[] ms = new double[30];
    for (int i = 0; i < ms.length; i++) {
      Stream.Event from = stream.record();
      stream.launch(launch);
      ms[i] = from.millisecondsTo(stream.record());
    }
    Arrays.sort(ms);
    System.out.printf("%-10s %.3f ms (p10 %.3f, p90 %.3f) %.0f TF%n", what, ms[15], ms[3], ms[27], flops / ms[15] / 1e9);
  }
}
