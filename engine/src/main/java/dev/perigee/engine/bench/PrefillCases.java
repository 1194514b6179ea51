package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.kernels.Dispatch;
import dev.perigee.engine.cuda.kernels.MlaPrefill;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Causal latent attention, forward and backward: Moonlight's heads at two lengths, and K2's. */
final class PrefillCases implements GpuCases {
  /** Sequences, tokens, heads. */
  private static final int[][] SHAPES = {{1, 4096, 16}, {1, 8192, 16}, {1, 4096, 64}};

  private static final float SCALE = (float) (1 / Math.sqrt(MlaPrefill.QUERY));

  @Override
  public String name() {
    return "prefill";
  }

  @Override
  public Map<String, Object> sizes() {
    return Map.of("shapes", SHAPES);
  }

  @Override
  public List<GpuCase> prepare(GpuLab lab, DeviceArena arena) {
    List<GpuCase> cases = new ArrayList<>();
    for (int[] shape : SHAPES) {
      MlaPrefill m = new MlaPrefill(shape[0], shape[1], shape[2], SCALE);
      long rows = 2L * shape[0] * shape[1];
      int heads = shape[2];
      DeviceBuffer q = lab.normal(arena, rows * heads * MlaPrefill.QUERY, 1, 1);
      DeviceBuffer kv = lab.normal(arena, rows * heads * MlaPrefill.PAIR, 2, 1);
      DeviceBuffer kr = lab.normal(arena, rows * MlaPrefill.ROPE, 3, 1);
      DeviceBuffer dout = lab.normal(arena, rows * heads * MlaPrefill.VALUE, 4, 1);
      DeviceBuffer out = arena.allocate(dout.bytes());
      DeviceBuffer lse = arena.allocate(m.rowBytes());
      DeviceBuffer largest = arena.allocate(4L * heads);
      int sms = lab.multiprocessors();
      lab.stream.launch(m.beginLargest(largest));
      List<Launch> plain = m.forward(sms, q, kv, kr, out, lse, Dispatch.NONE);
      List<Launch> forward = m.forward(sms, q, kv, kr, out, lse, largest);
      List<Launch> both = new ArrayList<>(forward);
      both.addAll(
          m.backward(
              sms,
              q,
              kv,
              kr,
              out,
              lse,
              dout,
              arena.allocate(q.bytes()),
              arena.allocate(kv.bytes()),
              arena.allocate(kr.bytes()),
              arena.allocate(m.scratchBytes())));
      String name = "MLA prefill " + shape[0] + " x " + shape[1] + ", " + heads + " heads";
      String sdpa = name + " forward SDPA cuDNN";
      cases.add(forward(name + " forward", m, lab.graph(forward), sdpa));
      cases.add(forward(name + " forward, no largest logit", m, lab.graph(plain), sdpa));
      cases.add(
          new GpuCase(
              name + " forward+backward",
              GpuCase.Unit.TERAFLOPS,
              3.6 * m.flops(),
              lab.graph(both),
              Double.NaN,
              List.of(name + " forward+backward SDPA cuDNN")));
    }
    return cases;
  }

  private static GpuCase forward(String name, MlaPrefill m, Runnable ours, String baseline) {
    return new GpuCase(
        name, GpuCase.Unit.TERAFLOPS, m.flops(), ours, Double.NaN, List.of(baseline));
  }
}
