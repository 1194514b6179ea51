package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.kernels.Dispatch;
import dev.perigee.engine.cuda.kernels.Fp8;
import dev.perigee.engine.cuda.kernels.FusedAdamW;
import dev.perigee.engine.cuda.kernels.FusedNorm;
import dev.perigee.engine.cuda.kernels.FusedRope;
import dev.perigee.engine.cuda.kernels.Router;
import dev.perigee.engine.cuda.kernels.SwiGlu;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;

/** What moves memory: each case counts the bytes that it cannot avoid. */
final class MovementCases implements GpuCases {
  private static final int ROWS = 32768;
  private static final int HIDDEN = 2048;
  private static final int HEADS = 16;
  private static final int HEAD = 192;
  private static final int ROTATED = 64;
  private static final int WIDTH = 1408;
  private static final int EXPERTS = 64;
  private static final int CHOSEN = 6;
  private static final int NUMBERS = 1 << 27;

  @Override
  public String name() {
    return "movement";
  }

  @Override
  public Map<String, Object> sizes() {
    return Map.of(
        "rows", ROWS, "hidden", HIDDEN, "heads", HEADS, "width", WIDTH, "experts", EXPERTS,
        "chosen", CHOSEN, "numbers", NUMBERS);
  }

  @Override
  public List<GpuCase> prepare(GpuLab lab, DeviceArena arena) {
    List<GpuCase> cases = new ArrayList<>();
    norm(lab, arena, cases);
    rope(lab, arena, cases);
    swiGlu(lab, arena, cases);
    experts(lab, arena, cases);
    adamW(lab, arena, cases);
    fp8(lab, arena, cases);
    return cases;
  }

  private static GpuCase of(GpuLab lab, String name, long bytes, List<Launch> work) {
    return new GpuCase(
        name,
        GpuCase.Unit.GIGABYTES,
        bytes,
        lab.graph(work),
        Double.NaN,
        List.of(name + (name.equals("AdamW") ? " fused" : " compiled")));
  }

  private static void norm(GpuLab lab, DeviceArena arena, List<GpuCase> cases) {
    FusedNorm norm = new FusedNorm(ROWS, HIDDEN, 1e-5f);
    long bytes = 2L * ROWS * HIDDEN;
    DeviceBuffer x = lab.normal(arena, bytes, 1, 1);
    DeviceBuffer residual = lab.normal(arena, bytes, 2, 1);
    DeviceBuffer gain = lab.normal(arena, 2L * HIDDEN, 3, 1);
    DeviceBuffer dy = lab.normal(arena, bytes, 4, 1);
    DeviceBuffer r = arena.allocate(bytes);
    DeviceBuffer y = arena.allocate(bytes);
    DeviceBuffer scale = arena.allocate(4L * ROWS);
    cases.add(
        of(
            lab,
            "residual + RMSNorm",
            4 * bytes,
            List.of(norm.forward(x, residual, gain, r, y, scale))));
    cases.add(
        of(
            lab,
            "residual + RMSNorm backward",
            4 * bytes,
            norm.backward(
                dy,
                r,
                gain,
                scale,
                residual,
                y,
                arena.allocate(4L * HIDDEN),
                arena.allocate(norm.scratchBytes()))));
  }

  private static void rope(GpuLab lab, DeviceArena arena, List<GpuCase> cases) {
    DeviceBuffer q = lab.normal(arena, 2L * ROWS * HEADS * HEAD, 5, 1);
    float[] angles = new float[ROWS * ROTATED / 2];
    DeviceBuffer cosine = lab.floats(arena, angles);
    DeviceBuffer sine = lab.floats(arena, angles);
    DeviceBuffer position = lab.ints(arena, IntStream.range(0, ROWS).toArray());
    cases.add(
        of(
            lab,
            "RoPE",
            4L * ROWS * HEADS * ROTATED + cosine.bytes() + sine.bytes() + position.bytes(),
            List.of(
                new FusedRope(ROWS, HEADS, HEAD, ROTATED)
                    .turn(q, position, cosine, sine, /* back */ false))));
  }

  private static void swiGlu(GpuLab lab, DeviceArena arena, List<GpuCase> cases) {
    long bytes = 2L * ROWS * WIDTH;
    DeviceBuffer h = lab.normal(arena, 2 * bytes, 6, 1);
    DeviceBuffer u = lab.normal(arena, bytes, 7, 1);
    DeviceBuffer a = arena.allocate(bytes);
    DeviceBuffer dh = arena.allocate(2 * bytes);
    cases.add(of(lab, "SwiGLU", 3 * bytes, List.of(SwiGlu.forward(h, a, ROWS, WIDTH))));
    DeviceBuffer none = Dispatch.NONE;
    cases.add(
        of(
            lab,
            "SwiGLU backward",
            6 * bytes,
            List.of(SwiGlu.backward(u, h, none, none, dh, a, none, ROWS, WIDTH))));
  }

  private static void experts(GpuLab lab, DeviceArena arena, List<GpuCase> cases) {
    int tokens = ROWS / 4;
    Router router = new Router(ROWS, HIDDEN, EXPERTS, CHOSEN, 2.446f);
    DeviceBuffer x = lab.normal(arena, 2L * ROWS * HIDDEN, 8, 1);
    DeviceBuffer w = lab.normal(arena, 2L * EXPERTS * HIDDEN, 9, 0.02f);
    DeviceBuffer bias = lab.floats(arena, new float[EXPERTS]);
    long assignments = 4L * ROWS * CHOSEN;
    DeviceBuffer expert = arena.allocate(assignments);
    DeviceBuffer score = arena.allocate(assignments);
    DeviceBuffer weight = arena.allocate(assignments);
    cases.add(
        of(
            lab,
            "router",
            x.bytes() + 3 * assignments,
            List.of(router.forward(lab.multiprocessors(), x, w, bias, expert, score, weight))));
    Dispatch dispatch = new Dispatch(tokens, EXPERTS, CHOSEN);
    int[] chosen = new int[tokens * CHOSEN];
    Random random = new Random(1);
    for (int i = 0; i < chosen.length; i++) {
      chosen[i] = random.nextInt(EXPERTS);
    }
    DeviceBuffer slot = arena.allocate(4L * chosen.length);
    dispatch
        .plan(
            lab.ints(arena, chosen),
            arena.allocate(dispatch.scratchBytes()),
            arena.allocate(4L * (EXPERTS + 1)),
            slot,
            arena.allocate(4L * chosen.length))
        .forEach(lab.stream::launch);
    long row = 2L * HIDDEN;
    DeviceBuffer y = lab.normal(arena, row * chosen.length, 10, 1);
    DeviceBuffer out = arena.allocate(row * tokens);
    long bytes = (long) tokens * (CHOSEN + 1) * row;
    cases.add(of(lab, "permute", bytes, List.of(dispatch.rowsToExperts(true, x, slot, y, HIDDEN))));
    DeviceBuffer none = Dispatch.NONE;
    cases.add(
        of(
            lab,
            "combine",
            bytes,
            List.of(dispatch.combine(y, slot, weight, none, none, out, HIDDEN))));
  }

  private static void adamW(GpuLab lab, DeviceArena arena, List<GpuCase> cases) {
    DeviceBuffer gradient = lab.normal(arena, 2L * NUMBERS, 11, 1);
    List<DeviceBuffer> state = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      state.add(arena.allocate(4L * NUMBERS));
      lab.stream.fill(state.get(i), (byte) 0);
    }
    DeviceBuffer step = lab.floats(arena, 1e-3f, 1, 0.1f, 0.05f);
    cases.add(
        of(
            lab,
            "AdamW",
            28L * NUMBERS,
            List.of(
                new FusedAdamW(0.9f, 0.95f, 1e-8f, 0.1f)
                    .update(
                        gradient,
                        state.get(0),
                        state.get(1),
                        state.get(2),
                        arena.allocate(2L * NUMBERS),
                        step))));
  }

  private static void fp8(GpuLab lab, DeviceArena arena, List<GpuCase> cases) {
    DeviceBuffer x = lab.normal(arena, 2L * NUMBERS, 12, 1);
    DeviceBuffer q = arena.allocate(NUMBERS);
    int rows = NUMBERS / HIDDEN;
    Fp8 square = new Fp8(rows, HIDDEN, Fp8.Scaling.SQUARE);
    Fp8 row = new Fp8(rows, HIDDEN, Fp8.Scaling.ROW);
    DeviceBuffer scale = arena.allocate(4 * row.scales());
    cases.add(
        of(lab, "FP8 quantize 128 x 128", 3L * NUMBERS, List.of(square.quantize(x, q, scale))));
    cases.add(of(lab, "FP8 quantize 1 x 128", 3L * NUMBERS, List.of(row.quantize(x, q, scale))));
    cases.add(of(lab, "FP8 dequantize", 3L * NUMBERS, List.of(row.dequantize(q, scale, x))));
  }
}
