package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.kernels.MlaDecode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;

/** One token of each of many sequences over a paged latent cache: Moonlight's heads and K2's. */
final class DecodeCases implements GpuCases {
  private static final int SEQUENCES = 64;
  private static final int TOKENS = 4096;
  private static final int[] HEADS = {16, 64};

  @Override
  public String name() {
    return "decode";
  }

  @Override
  public Map<String, Object> sizes() {
    return Map.of("sequences", SEQUENCES, "tokens", TOKENS, "heads", HEADS);
  }

  @Override
  public List<GpuCase> prepare(GpuLab lab, DeviceArena arena) {
    int width = TOKENS / MlaDecode.PAGE;
    int pages = SEQUENCES * width;
    long cacheBytes = 2L * pages * MlaDecode.PAGE * MlaDecode.KEY;
    DeviceBuffer cache = lab.normal(arena, cacheBytes, 1, 1);
    List<Integer> order = new ArrayList<>(IntStream.range(0, pages).boxed().toList());
    Collections.shuffle(order, new Random(1));
    DeviceBuffer table = lab.ints(arena, order.stream().mapToInt(Integer::intValue).toArray());
    DeviceBuffer lengths =
        lab.ints(arena, IntStream.range(0, SEQUENCES).map(b -> TOKENS).toArray());
    List<GpuCase> cases = new ArrayList<>();
    for (int heads : HEADS) {
      MlaDecode decode = new MlaDecode(SEQUENCES, heads, pages, width, 0.07f);
      DeviceBuffer q = lab.normal(arena, 2L * SEQUENCES * heads * MlaDecode.KEY, 2, 1);
      DeviceBuffer out = arena.allocate(2L * SEQUENCES * heads * MlaDecode.VALUE);
      DeviceBuffer scratch = arena.allocate(decode.scratchBytes(lab.multiprocessors()));
      String name = "MLA decode, " + heads + " heads";
      var launches = decode.attend(lab.multiprocessors(), q, cache, table, lengths, out, scratch);
      Runnable graph = lab.graph(launches);
      cases.add(
          new GpuCase(
              name,
              GpuCase.Unit.GIGABYTES,
              cacheBytes + q.bytes() + out.bytes(),
              graph,
              Double.NaN,
              List.of(name + " eager", name + " compiled")));
    }
    return cases;
  }
}
