package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.Bfloat16;
import dev.perigee.engine.cuda.Cuda;
import dev.perigee.engine.cuda.Device;
import dev.perigee.engine.cuda.DeviceArena;
import dev.perigee.engine.cuda.DeviceBuffer;
import dev.perigee.engine.cuda.GroupedGemm;
import dev.perigee.engine.cuda.Launch;
import dev.perigee.engine.cuda.Launcher;
import dev.perigee.engine.cuda.MoeLayer;
import dev.perigee.engine.cuda.RandomNormal;
import dev.perigee.engine.cuda.Stream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.DoubleStream;

/**
 * The GPU's kernels beside PyTorch's on one machine in one run, as a Markdown table:
 *
 * <pre>java -cp ... dev.perigee.engine.bench.GpuBench [table.md]</pre>
 *
 * <p>Geometry of Moonlight 16B-A3B: 8192 tokens, 6 of 64 experts, hidden 2048, width 1408, shared
 * 2816. Random normal bf16 numbers. A case is checked first; then ours, PyTorch's, ours, PyTorch's
 * are measured in turn, each {@value #REPEATS} times after 100 ms of warm-up, with events on the
 * device. A case reads and writes several times the L2 cache, so no repeat finds its data there.
 */
public final class GpuBench {
  private static final int TOKENS = 8192;
  private static final int HIDDEN = 2048;
  private static final int EXPERTS = 64;
  private static final int CHOSEN = 6;
  private static final int WIDTH = 1408;
  private static final int SHARED = 2816;
  private static final float SCALE = 2.446f;
  private static final int REPEATS = 40;
  private static final int BLOCKS = 2;

  /** How many numbers at either end of a result are checked. */
  private static final long CHECKED = 1 << 23;

  /** A line of the table: what, how many operations, ours, and the names of the baselines. */
  private record Case(
      String name, double flops, Runnable ours, double error, List<String> baselines) {}

  private final Device device;
  private final Stream stream;
  private final DeviceArena arena;
  private final List<Case> cases = new ArrayList<>();

  private GpuBench(Device device, DeviceArena arena) {
    this.device = device;
    this.stream = device.compute();
    this.arena = arena;
  }

  /** Runs everything; prints the table, and writes it to the file named by the argument. */
  public static void main(String[] args) throws IOException {
    Optional<String> why = Cuda.whyAbsent();
    if (why.isPresent()) {
      System.err.println(why.get());
      System.exit(1);
    }
    try (Device device = Device.open(0);
        DeviceArena arena = device.arena()) {
      Map<String, int[]> routing = routing();
      GpuBench bench = new GpuBench(device, arena);
      for (Map.Entry<String, int[]> r : routing.entrySet()) {
        bench.groupedProducts(r.getKey(), r.getValue());
      }
      bench.moeLayer();
      String table = bench.measure(routing);
      System.out.println(table);
      if (args.length > 0) {
        Files.writeString(Path.of(args[0]), table, StandardCharsets.UTF_8);
      }
    }
  }

  /** Rows of each expert: every expert as likely, and likelihoods from 1 down to 1/8. */
  private static Map<String, int[]> routing() {
    Map<String, int[]> routing = new LinkedHashMap<>();
    for (String name : List.of("uniform", "skewed")) {
      Random random = new Random(1);
      int[] counts = new int[EXPERTS];
      for (int t = 0; t < TOKENS; t++) {
        boolean[] taken = new boolean[EXPERTS];
        for (int j = 0; j < CHOSEN; ) {
          int e = random.nextInt(EXPERTS);
          boolean kept =
              name.equals("uniform") || random.nextDouble() < 1 / (1 + 7.0 * e / EXPERTS);
          if (kept && !taken[e]) {
            taken[e] = true;
            counts[e]++;
            j++;
          }
        }
      }
      routing.put(name, counts);
    }
    return routing;
  }

  private void groupedProducts(String routing, int[] counts) {
    int sms = device.multiprocessors();
    int rows = TOKENS * CHOSEN;
    ByteBuffer host = arena.pinned(4L * (EXPERTS + 1));
    int at = 0;
    host.putInt(0);
    for (int c : counts) {
      at += c;
      host.putInt(at);
    }
    DeviceBuffer offsets = arena.allocate(4L * (EXPERTS + 1));
    stream.upload(host.flip(), offsets);
    for (String kind : List.of("up", "down")) {
      GroupedGemm.Sizes s =
          kind.equals("up")
              ? new GroupedGemm.Sizes(EXPERTS, rows, HIDDEN, 2 * WIDTH)
              : new GroupedGemm.Sizes(EXPERTS, rows, WIDTH, HIDDEN);
      DeviceBuffer x = normal(2L * rows * s.inputs(), 1, 1);
      DeviceBuffer dy = normal(2L * rows * s.outputs(), 2, 1);
      DeviceBuffer w = normal(2L * EXPERTS * s.inputs() * s.outputs(), 3, 0.02f);
      DeviceBuffer y = arena.allocate(dy.bytes());
      DeviceBuffer dx = arena.allocate(x.bytes());
      DeviceBuffer dw = arena.allocate(w.bytes());
      String name = routing + " " + kind;
      GroupedGemm.Inputs bf16 = GroupedGemm.Inputs.BF16;
      try (DeviceArena scratch = device.arena()) {
        DeviceBuffer plain =
            scratch.allocate(2 * Math.max(w.bytes(), Math.max(y.bytes(), dx.bytes())));
        product(
            name,
            s,
            GroupedGemm.forward(sms, s, x, w, offsets, y),
            y,
            GroupedGemm.forwardPlain(bf16, s, x, w, offsets, plain),
            plain);
        product(
            name + " dx",
            s,
            GroupedGemm.inputGradient(sms, s, dy, w, offsets, dx),
            dx,
            GroupedGemm.inputGradientPlain(bf16, s, dy, w, offsets, plain),
            plain);
        product(
            name + " dw",
            s,
            GroupedGemm.weightGradient(sms, s, dy, x, offsets, dw),
            dw,
            GroupedGemm.weightGradientPlain(bf16, s, dy, x, offsets, plain),
            plain);
      }
    }
  }

  private void product(
      String name,
      GroupedGemm.Sizes s,
      Launch fast,
      DeviceBuffer result,
      Launch plain,
      DeviceBuffer expected) {
    stream.fill(result, (byte) 0xFF);
    stream.launch(fast);
    stream.launch(plain);
    cases.add(
        new Case(
            name,
            s.flops(),
            () -> stream.launch(fast),
            relativeError(result, expected),
            List.of(name)));
  }

  private void moeLayer() {
    MoeLayer.Sizes z = new MoeLayer.Sizes(TOKENS, HIDDEN, EXPERTS, CHOSEN, WIDTH, SHARED, SCALE);
    MoeLayer layer = new MoeLayer(device, arena, z);
    MoeLayer.Weights weights = MoeLayer.Weights.allocate(arena, z);
    MoeLayer.Weights gradients = MoeLayer.Weights.allocate(arena, z);
    int seed = 10;
    for (DeviceBuffer w : weights.all()) {
      stream.launch(RandomNormal.fill(w, seed++, 0.02f));
    }
    DeviceBuffer bias = arena.allocate(4L * EXPERTS);
    stream.fill(bias, (byte) 0);
    DeviceBuffer x = normal(2L * TOKENS * HIDDEN, 20, 1);
    DeviceBuffer dout = normal(2L * TOKENS * HIDDEN, 21, 1);
    DeviceBuffer out = arena.allocate(x.bytes());
    DeviceBuffer dx = arena.allocate(x.bytes());
    Runnable forward = () -> layer.forward(stream, device.beside(), weights, bias, x, out);
    Runnable both =
        () -> {
          forward.run();
          layer.backward(stream, device.beside(), weights, x, dout, dx, gradients);
        };
    both.run(); // a capture cannot load kernels
    breakdown(layer, weights, gradients, bias, x, dout, out, dx);
    Stream.Graph forwardGraph = stream.capture(forward);
    Stream.Graph bothGraph = stream.capture(both);
    // The layer is checked against float64 by MoeLayerGpuTest; its products are checked above.
    cases.add(
        new Case(
            "MoE layer forward",
            z.flops(),
            () -> stream.replay(forwardGraph),
            Double.NaN,
            List.of("moe forward eager", "moe forward compiled")));
    cases.add(
        new Case(
            "MoE layer forward+backward",
            3 * z.flops(),
            () -> stream.replay(bothGraph),
            Double.NaN,
            List.of("moe forward+backward eager", "moe forward+backward compiled")));
  }

  /** Prints what each kernel of the layer takes when it runs alone. */
  private void breakdown(
      MoeLayer layer,
      MoeLayer.Weights weights,
      MoeLayer.Weights gradients,
      DeviceBuffer bias,
      DeviceBuffer x,
      DeviceBuffer dout,
      DeviceBuffer out,
      DeviceBuffer dx) {
    List<Launch> launches = new ArrayList<>();
    Launcher list =
        new Launcher() {
          @Override
          public void launch(Launch l) {
            launches.add(l);
          }

          @Override
          public void after(Launcher other) {} // one list has one order
        };
    layer.forward(list, list, weights, bias, x, out);
    layer.backward(list, list, weights, x, dout, dx, gradients);
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

  private DeviceBuffer normal(long bytes, int seed, float deviation) {
    DeviceBuffer b = arena.allocate(bytes);
    stream.launch(RandomNormal.fill(b, seed, deviation));
    return b;
  }

  /** ‖x − y‖ / ‖y‖ of bf16 x and float32 y over both ends. */
  private double relativeError(DeviceBuffer x, DeviceBuffer y) {
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

  private ByteBuffer host(DeviceBuffer b) {
    ByteBuffer h = ByteBuffer.allocateDirect((int) b.bytes()).order(ByteOrder.nativeOrder());
    stream.download(b, h);
    stream.synchronize();
    return h;
  }

  private double[] milliseconds(Runnable work) {
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

  private String measure(Map<String, int[]> routing) throws IOException {
    stream.synchronize();
    Map<String, Object> setup = new HashMap<>();
    setup.put("routing", routing);
    setup.put("tokens", TOKENS);
    setup.put("hidden", HIDDEN);
    setup.put("experts", EXPERTS);
    setup.put("chosen", CHOSEN);
    setup.put("width", WIDTH);
    setup.put("shared", SHARED);
    setup.put("scale", SCALE);
    StringBuilder out = new StringBuilder();
    Optional<TorchBaselines> torch = TorchBaselines.start(setup);
    try (TorchBaselines t = torch.orElse(null)) {
      double ceiling = Double.NaN;
      if (t != null) {
        ceiling = 2.0 * 8192 * 8192 * 8192 / median(t.run("mm", REPEATS).ms()) / 1e9;
        double copy = 2.0 * (1L << 30) / median(t.run("copy", REPEATS).ms()) / 1e6;
        out.append(
            String.format(
                Locale.ROOT,
                "%s, PyTorch %s, %s. Ceilings in this run: bf16 product 8192³ %.0f TF, copy %.0f"
                    + " GB/s.%n%n",
                device.name(),
                t.version(),
                LocalDate.now(ZoneOffset.UTC),
                ceiling,
                copy));
      }
      out.append(
          "| case | ours: median (p10–p90) | rate | best baseline | ratio | ceiling | error |\n");
      out.append("|---|---|---|---|---|---|---|\n");
      for (Case c : cases) {
        double[] ours = new double[0];
        Map<String, double[]> theirs = new LinkedHashMap<>();
        String theirError = "";
        for (int block = 0; block < BLOCKS; block++) {
          ours = joined(ours, milliseconds(c.ours));
          for (String name : t == null ? List.<String>of() : c.baselines) {
            TorchBaselines.Measured m = t.run(name, REPEATS);
            theirs.merge(name, m.ms(), GpuBench::joined);
            theirError =
                m.error().map(e -> String.format(Locale.ROOT, " / %.1e", e)).orElse(theirError);
          }
        }
        Arrays.sort(ours);
        double mine = median(ours);
        String best =
            theirs.entrySet().stream()
                .map(e -> Map.entry(e.getKey(), median(e.getValue())))
                .min(Map.Entry.comparingByValue())
                .map(e -> String.format(Locale.ROOT, "%.3f ms (%s)", e.getValue(), e.getKey()))
                .orElse("");
        double baseline =
            theirs.values().stream().mapToDouble(GpuBench::median).min().orElse(Double.NaN);
        double rate = c.flops / mine / 1e9;
        out.append(
            String.format(
                Locale.ROOT,
                "| %s | %.3f ms (%.3f–%.3f) | %.0f TF | %s | %.2f | %.0f %% | %s%s |%n",
                c.name,
                mine,
                ours[ours.length / 10],
                ours[ours.length * 9 / 10],
                rate,
                best,
                baseline / mine,
                100 * rate / ceiling,
                Double.isNaN(c.error) ? "" : String.format(Locale.ROOT, "%.1e", c.error),
                theirError));
      }
    }
    return out.toString();
  }

  private static double[] joined(double[] a, double[] b) {
    return DoubleStream.concat(Arrays.stream(a), Arrays.stream(b)).toArray();
  }

  private static double median(double[] x) {
    double[] sorted = x.clone();
    Arrays.sort(sorted);
    return (sorted[(sorted.length - 1) / 2] + sorted[sorted.length / 2]) / 2;
  }
}
