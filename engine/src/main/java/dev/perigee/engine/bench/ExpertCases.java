package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.Launcher;
import dev.perigee.engine.cuda.driver.Stream;
import dev.perigee.engine.cuda.kernels.GroupedGemm;
import dev.perigee.engine.cuda.kernels.MoeLayer;
import dev.perigee.engine.cuda.kernels.RandomNormal;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * The expert layer of Moonlight: its products alone, with rows shared evenly by chance and
 * unevenly, and the whole layer as one graph.
 */
final class ExpertCases implements GpuCases {
  private static final int TOKENS = 8192;
  private static final int HIDDEN = 2048;
  private static final int EXPERTS = 64;
  private static final int CHOSEN = 6;
  private static final int WIDTH = 1408;
  private static final int SHARED = 2816;
  private static final float SCALE = 2.446f;

  private final Map<String, int[]> routing = routing();

  @Override
  public String name() {
    return "experts";
  }

  @Override
  public Map<String, Object> sizes() {
    return Map.of(
        "routing", routing, "tokens", TOKENS, "hidden", HIDDEN, "experts", EXPERTS, "chosen",
        CHOSEN, "width", WIDTH, "shared", SHARED, "scale", SCALE);
  }

  @Override
  public List<GpuCase> prepare(GpuLab lab, DeviceArena arena) {
    List<GpuCase> cases = new ArrayList<>();
    routing.forEach((name, counts) -> cases.addAll(products(lab, arena, name, counts)));
    cases.addAll(layer(lab, arena));
    return cases;
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

  private static List<GpuCase> products(
      GpuLab lab, DeviceArena arena, String routing, int[] counts) {
    List<GpuCase> cases = new ArrayList<>();
    int sms = lab.multiprocessors();
    int rows = TOKENS * CHOSEN;
    int[] ends = new int[EXPERTS + 1];
    for (int e = 0; e < EXPERTS; e++) {
      ends[e + 1] = ends[e] + counts[e];
    }
    DeviceBuffer offsets = lab.ints(arena, ends);
    for (String kind : List.of("up", "down")) {
      GroupedGemm.Sizes s =
          kind.equals("up")
              ? new GroupedGemm.Sizes(EXPERTS, rows, HIDDEN, 2 * WIDTH)
              : new GroupedGemm.Sizes(EXPERTS, rows, WIDTH, HIDDEN);
      DeviceBuffer x = lab.normal(arena, 2L * rows * s.inputs(), 1, 1);
      DeviceBuffer dy = lab.normal(arena, 2L * rows * s.outputs(), 2, 1);
      DeviceBuffer w = lab.normal(arena, 2L * EXPERTS * s.inputs() * s.outputs(), 3, 0.02f);
      DeviceBuffer y = arena.allocate(dy.bytes());
      DeviceBuffer dx = arena.allocate(x.bytes());
      DeviceBuffer dw = arena.allocate(w.bytes());
      String name = routing + " " + kind;
      GroupedGemm.Inputs bf16 = GroupedGemm.Inputs.BF16;
      try (DeviceArena scratch = lab.device.arena()) {
        DeviceBuffer plain =
            scratch.allocate(2 * Math.max(w.bytes(), Math.max(y.bytes(), dx.bytes())));
        cases.add(
            product(
                lab,
                name,
                s,
                GroupedGemm.forward(sms, s, x, w, offsets, y),
                y,
                GroupedGemm.forwardPlain(bf16, s, x, w, offsets, plain),
                plain));
        cases.add(
            product(
                lab,
                name + " dx",
                s,
                GroupedGemm.inputGradient(sms, s, dy, w, offsets, dx),
                dx,
                GroupedGemm.inputGradientPlain(bf16, s, dy, w, offsets, plain),
                plain));
        cases.add(
            product(
                lab,
                name + " dw",
                s,
                GroupedGemm.weightGradient(sms, s, dy, x, offsets, dw),
                dw,
                GroupedGemm.weightGradientPlain(bf16, s, dy, x, offsets, plain),
                plain));
      }
    }
    return cases;
  }

  private static GpuCase product(
      GpuLab lab,
      String name,
      GroupedGemm.Sizes s,
      Launch fast,
      DeviceBuffer result,
      Launch plain,
      DeviceBuffer expected) {
    lab.stream.fill(result, (byte) 0xFF);
    lab.stream.launch(fast);
    lab.stream.launch(plain);
    return new GpuCase(
        name,
        GpuCase.Unit.TERAFLOPS,
        s.flops(),
        () -> lab.stream.launch(fast),
        lab.relativeError(result, expected),
        List.of(name + " F.grouped_mm"));
  }

  private static List<GpuCase> layer(GpuLab lab, DeviceArena arena) {
    Stream stream = lab.stream;
    MoeLayer.Sizes z = new MoeLayer.Sizes(TOKENS, HIDDEN, EXPERTS, CHOSEN, WIDTH, SHARED, SCALE);
    MoeLayer layer = new MoeLayer(lab.device, arena, z);
    MoeLayer.Weights weights = MoeLayer.Weights.allocate(arena, z);
    MoeLayer.Weights gradients = MoeLayer.Weights.allocate(arena, z);
    int seed = 10;
    for (DeviceBuffer w : weights.all()) {
      stream.launch(RandomNormal.fill(w, seed++, 0.02f));
    }
    DeviceBuffer bias = arena.allocate(4L * EXPERTS);
    stream.fill(bias, (byte) 0);
    DeviceBuffer x = lab.normal(arena, 2L * TOKENS * HIDDEN, 20, 1);
    DeviceBuffer dout = lab.normal(arena, 2L * TOKENS * HIDDEN, 21, 1);
    DeviceBuffer out = arena.allocate(x.bytes());
    DeviceBuffer dx = arena.allocate(x.bytes());
    Runnable forward = () -> layer.forward(stream, lab.device.beside(), weights, bias, x, out);
    Runnable both =
        () -> {
          forward.run();
          layer.backward(stream, lab.device.beside(), weights, x, dout, dx, gradients);
        };
    both.run(); // a capture cannot load kernels
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
    lab.breakdown(launches);
    Stream.Graph forwardGraph = stream.capture(forward);
    Stream.Graph bothGraph = stream.capture(both);
    // The layer is checked against float64 by MoeLayerGpuTest; its products are checked above.
    return List.of(
        new GpuCase(
            "MoE layer forward",
            GpuCase.Unit.TERAFLOPS,
            z.flops(),
            () -> stream.replay(forwardGraph),
            Double.NaN,
            List.of("MoE layer forward eager", "MoE layer forward compiled")),
        new GpuCase(
            "MoE layer forward+backward",
            GpuCase.Unit.TERAFLOPS,
            3 * z.flops(),
            () -> stream.replay(bothGraph),
            Double.NaN,
            List.of("MoE layer forward+backward eager", "MoE layer forward+backward compiled")));
  }
}
