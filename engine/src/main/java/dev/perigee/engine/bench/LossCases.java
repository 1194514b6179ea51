package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.kernels.LinearCrossEntropy;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** The language model's head and its loss, forward and backward: Moonlight's vocabulary. */
final class LossCases implements GpuCases {
  private static final int TOKENS = 8192;
  private static final int HIDDEN = 2048;
  private static final int VOCABULARY = 163840;
  private static final int CHUNK = 2048;

  @Override
  public String name() {
    return "loss";
  }

  @Override
  public Map<String, Object> sizes() {
    return Map.of("tokens", TOKENS, "hidden", HIDDEN, "vocabulary", VOCABULARY);
  }

  @Override
  public List<GpuCase> prepare(GpuLab lab, DeviceArena arena) {
    LinearCrossEntropy.Sizes z = new LinearCrossEntropy.Sizes(TOKENS, HIDDEN, VOCABULARY, CHUNK);
    DeviceBuffer x = lab.normal(arena, 2L * TOKENS * HIDDEN, 1, 1);
    DeviceBuffer w = lab.normal(arena, 2L * VOCABULARY * HIDDEN, 2, 0.02f);
    DeviceBuffer target = lab.ints(arena, new Random(3).ints(TOKENS, 0, VOCABULARY).toArray());
    DeviceBuffer loss = arena.allocate(4L * TOKENS);
    DeviceBuffer dx = arena.allocate(x.bytes());
    DeviceBuffer dw = arena.allocate(2 * w.bytes());
    Runnable graph =
        lab.graph(
            new LinearCrossEntropy(lab.device, arena, z)
                .lossAndGradients(
                    lab.multiprocessors(), x, w, target, 1f / TOKENS, loss, dx, dw, false));
    String name = "linear + cross-entropy, forward+backward";
    return List.of(
        new GpuCase(
            name,
            GpuCase.Unit.TERAFLOPS,
            z.flops(),
            z.workingBytes(),
            graph,
            Double.NaN,
            List.of(name + " eager", name + " compiled")));
  }
}
