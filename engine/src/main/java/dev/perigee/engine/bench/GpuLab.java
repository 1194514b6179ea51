package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.Device;
import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.Stream;
import dev.perigee.engine.cuda.kernels.Bfloat16;
import dev.perigee.engine.cuda.kernels.RandomNormal;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** A GPU, and how things are measured on it. */
final class GpuLab {
  static final int REPEATS = 40;

  /** How many numbers at either end of a result are checked. */
  private static final long CHECKED = 1 << 23;

  final Device device;
  final Stream stream;

  GpuLab(Device device) {
    this.device = device;
    this.stream = device.compute();
  }

  int multiprocessors() {
    return device.multiprocessors();
  }

  /** Normal bf16 numbers in new memory. */
  DeviceBuffer normal(DeviceArena arena, long bytes, int seed, float deviation) {
    DeviceBuffer b = arena.allocate(bytes);
    stream.launch(RandomNormal.fill(b, seed, deviation));
    return b;
  }

  /** Float32 numbers in new memory. */
  DeviceBuffer floats(DeviceArena arena, float... x) {
    ByteBuffer host = arena.pinned(4L * x.length);
    for (float v : x) {
      host.putFloat(v);
    }
    DeviceBuffer b = arena.allocate(4L * x.length);
    stream.upload(host.flip(), b);
    return b;
  }

  /** 32-bit integers in new memory. */
  DeviceBuffer ints(DeviceArena arena, int... x) {
    return arena.ints(stream, x);
  }

  /** The launches as one graph; they run once here, for a capture cannot load kernels. */
  Runnable graph(List<Launch> launches) {
    Runnable work = () -> launches.forEach(stream::launch);
    work.run();
    Stream.Graph graph = stream.capture(work);
    return () -> stream.replay(graph);
  }

  /** Prints what each launch takes when it runs alone, in order. */
  void breakdown(List<Launch> launches) {
    double[][] ms = new double[launches.size()][REPEATS];
    for (int r = 0; r < REPEATS; r++) {
      List<Stream.Event> marks = new ArrayList<>();
      for (Launch l : launches) {
        marks.add(stream.record());
        stream.launch(l);
      }
      marks.add(stream.record());
      for (int i = 0; i < ms.length; i++) {
        ms[i][r] = marks.get(i).millisecondsTo(marks.get(i + 1));
      }
      marks.forEach(Stream.Event::close);
    }
    for (int i = 0; i < ms.length; i++) {
      System.out.printf(Locale.ROOT, "%8.3f ms  %s%n", median(ms[i]), launches.get(i));
    }
  }

  /** ‖x − y‖ / ‖y‖ of bf16 x and float32 y over both ends. */
  double relativeError(DeviceBuffer x, DeviceBuffer y) {
    long n = x.bytes() / 2;
    long part = Math.min(n, CHECKED);
    double difference = 0;
    double norm = 0;
    for (long first : new long[] {0, n - part}) {
      ByteBuffer a = host(x.slice(2 * first, 2 * part));
      ByteBuffer b = host(y.slice(4 * first, 4 * part));
      for (int i = 0; i < part; i++) {
        double expected = b.getFloat();
        double d = Bfloat16.toFloat(a.getShort()) - expected;
        difference += d * d;
        norm += expected * expected;
      }
    }
    return Math.sqrt(difference / norm);
  }

  ByteBuffer host(DeviceBuffer b) {
    ByteBuffer h = ByteBuffer.allocateDirect((int) b.bytes()).order(ByteOrder.nativeOrder());
    stream.download(b, h);
    stream.synchronize();
    return h;
  }

  /** Milliseconds of each repeat, after 100 ms of warm-up. */
  double[] milliseconds(Runnable work) {
    Stream.Event begin = stream.record();
    work.run();
    float once = Math.max(1e-3f, begin.millisecondsTo(stream.record()));
    for (int i = 0; i < 100 / once + 1; i++) {
      work.run();
    }
    List<Stream.Event> marks = new ArrayList<>();
    for (int i = 0; i < REPEATS; i++) {
      marks.add(stream.record());
      work.run();
      marks.add(stream.record());
    }
    stream.synchronize();
    double[] ms = new double[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
      ms[i] = marks.get(2 * i).millisecondsTo(marks.get(2 * i + 1));
    }
    marks.forEach(Stream.Event::close);
    begin.close();
    return ms;
  }

  static double median(double[] x) {
    double[] sorted = x.clone();
    Arrays.sort(sorted);
    return (sorted[(sorted.length - 1) / 2] + sorted[sorted.length / 2]) / 2;
  }
}
