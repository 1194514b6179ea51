package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.DeviceArena;
import dev.perigee.engine.cuda.DeviceBuffer;
import dev.perigee.engine.cuda.Dispatch;
import dev.perigee.engine.cuda.Launch;
import dev.perigee.engine.cuda.Muon;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Muon's step of the 192 matrices of an expert layer of Moonlight: 128 wide ones (gate and up) and
 * 64 tall ones (down), momentum and weights in float32, gradients in bf16.
 */
final class MuonCases implements GpuCases {
  private static final int EXPERTS = 64;
  private static final int HIDDEN = 2048;
  private static final int WIDTH = 1408;

  @Override
  public String name() {
    return "muon";
  }

  @Override
  public Map<String, Object> sizes() {
    return Map.of("matrices", 3 * EXPERTS, "rows", WIDTH, "columns", HIDDEN);
  }

  @Override
  public List<GpuCase> prepare(GpuLab lab, DeviceArena arena) {
    Muon.Rule rule = new Muon.Rule(0.95f, true, 5, 3.4445f, -4.775f, 2.0315f, 0.2f, 0.1f);
    Muon wide = new Muon(EXPERTS, WIDTH, HIDDEN, rule);
    Muon tall = new Muon(EXPERTS, HIDDEN, WIDTH, rule);
    DeviceBuffer rates = lab.floats(arena, 1e-3f, 1);
    DeviceBuffer scratch = arena.allocate(Math.max(wide.scratchBytes(), tall.scratchBytes()));
    List<Launch> launches = new ArrayList<>();
    int seed = 1;
    for (Muon m : List.of(wide, wide, tall)) {
      long numbers = (long) m.matrices() * m.rows() * m.columns();
      DeviceBuffer gradient = lab.normal(arena, 2 * numbers, seed++, 1);
      DeviceBuffer momentum = arena.allocate(4 * numbers);
      DeviceBuffer master = arena.allocate(4 * numbers);
      DeviceBuffer weight = arena.allocate(2 * numbers);
      lab.stream.fill(momentum, (byte) 0);
      lab.stream.fill(master, (byte) 0);
      launches.addAll(
          m.step(
              lab.multiprocessors(),
              Muon.Gradient.BF16,
              gradient,
              momentum,
              master,
              weight,
              rates,
              Dispatch.NONE,
              scratch));
    }
    Runnable graph = lab.graph(launches);
    return List.of(
        new GpuCase(
            "Muon step, 192 matrices of 1408 x 2048",
            GpuCase.Unit.TERAFLOPS,
            2 * wide.flops() + tall.flops(),
            graph,
            Double.NaN,
            List.of("torch.optim.Muon", "batched Newton-Schulz compiled")));
  }
}
