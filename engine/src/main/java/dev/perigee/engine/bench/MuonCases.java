package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.kernels.Dispatch;
import dev.perigee.engine.cuda.kernels.Muon;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * Muon's step, momentum and weights in float32, gradients in bf16: of the 192 matrices of an expert
 * layer of Moonlight, 128 wide ones (gate and up) and 64 tall ones (down), and of 24 of Kimi K2's
 * 1152 in the same proportion. Each in the form that suits its sides and in the other one.
 */
final class MuonCases implements GpuCases {
  private static final Muon.Rule RULE =
      new Muon.Rule(0.95f, true, 5, 3.4445f, -4.775f, 2.0315f, 0.2f, 0.1f);

  /** The matrices of some experts, three each. */
  private record Layer(int experts, int width, int hidden) {
    String name() {
      return "Muon step, " + 3 * experts + " matrices of " + width + " x " + hidden;
    }

    List<Muon> parts(Muon.Form form) {
      Muon wide = new Muon(experts, width, hidden, RULE, form);
      return List.of(wide, wide, new Muon(experts, hidden, width, RULE, form));
    }

    Muon.Form suiting() {
      return new Muon(experts, width, hidden, RULE).form();
    }
  }

  private static final List<Layer> LAYERS =
      List.of(new Layer(64, 1408, 2048), new Layer(8, 2048, 7168));

  @Override
  public String name() {
    return "muon";
  }

  @Override
  public Map<String, Object> sizes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    for (Layer l : LAYERS) {
      shapes.put(l.name(), List.of(3 * l.experts, l.width, l.hidden));
    }
    return Map.of("shapes", shapes);
  }

  @Override
  public List<GpuCase> prepare(GpuLab lab, DeviceArena arena) {
    List<GpuCase> cases = new ArrayList<>();
    DeviceBuffer rates = lab.floats(arena, 1e-3f, 1);
    for (Layer layer : LAYERS) {
      long numbers = (long) layer.experts * layer.width * layer.hidden;
      long scratchBytes =
          Stream.of(Muon.Form.values())
              .flatMap(f -> layer.parts(f).stream())
              .mapToLong(Muon::scratchBytes)
              .max()
              .orElseThrow();
      DeviceBuffer scratch = arena.allocate(scratchBytes);
      List<Launch> suiting = new ArrayList<>();
      List<Launch> other = new ArrayList<>();
      for (int i = 0; i < 3; i++) {
        DeviceBuffer gradient = lab.normal(arena, 2 * numbers, i + 1, 1);
        DeviceBuffer momentum = arena.allocate(4 * numbers);
        DeviceBuffer master = arena.allocate(4 * numbers);
        DeviceBuffer weight = arena.allocate(2 * numbers);
        lab.stream.fill(momentum, (byte) 0);
        lab.stream.fill(master, (byte) 0);
        for (Muon.Form form : Muon.Form.values()) {
          (form == layer.suiting() ? suiting : other)
              .addAll(
                  layer
                      .parts(form)
                      .get(i)
                      .step(
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
      }
      double flops = layer.parts(Muon.Form.PLAIN).stream().mapToDouble(Muon::flops).sum();
      String name = layer.name();
      cases.add(
          of(
              name,
              flops,
              lab.graph(suiting),
              name + " torch.optim.Muon",
              name + " batched Newton-Schulz compiled"));
      String form = layer.suiting() == Muon.Form.GRAM ? "plain" : "Gram";
      cases.add(of(name + ", in the " + form + " form", flops, lab.graph(other)));
    }
    return cases;
  }

  private static GpuCase of(String name, double flops, Runnable graph, String... baselines) {
    return new GpuCase(name, GpuCase.Unit.TERAFLOPS, flops, graph, Double.NaN, List.of(baselines));
  }
}
