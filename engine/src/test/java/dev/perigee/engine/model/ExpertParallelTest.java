package dev.perigee.engine.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.generate.Generator;
import dev.perigee.engine.generate.Generator.Sampling;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Experts spread over ranks against all experts on one. */
class ExpertParallelTest {
  private static final int LENGTH = 6;
  private static final int SEQUENCES = 4;

  /** What a rank found. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Outcome(double loss, Map<String, float[]> gradients, long[][] tokensPerExpert) {}

  @ParameterizedTest
  @CsvSource({"2, false", "4, false", "4, true"})
  void lossAndGradientsAreThoseOfOneRank(int ranks, boolean crowded) throws Exception {
    ModelConfig config = Models.tiny();
    int[] ids = Models.ids(SEQUENCES * LENGTH, config.vocabSize(), 1);
    int[] targets = Models.ids(SEQUENCES * LENGTH, config.vocabSize(), 2);
    Outcome whole = pass(config, Collectives.solo(), ids, targets, crowded);
    List<Outcome> parts;
    try (Fabric fabric = Fabric.local(ranks)) {
      List<Integer> group = IntStream.range(0, ranks).boxed().toList();
      int share = ids.length / ranks;
      parts =
          fabric.run(
              rank ->
                  pass(
                      config,
                      fabric.collectives(rank, group),
                      Arrays.copyOfRange(ids, rank * share, (rank + 1) * share),
                      Arrays.copyOfRange(targets, rank * share, (rank + 1) * share),
                      crowded));
    }
    double loss = parts.stream().mapToDouble(Outcome::loss).sum();
    assertThat(loss).isCloseTo(whole.loss, within(1e-6 * whole.loss));
    whole.gradients.forEach(
        (name, expected) -> {
          float[] sum = new float[expected.length];
          int holders = 0;
          for (Outcome part : parts) {
            float[] gradient = part.gradients.get(name);
            holders += gradient == null ? 0 : 1;
            for (int i = 0; gradient != null && i < sum.length; i++) {
              sum[i] += gradient[i];
            }
          }
          assertThat(holders).as(name).isEqualTo(name.contains(".experts.") ? 1 : ranks);
          assertThat(sum).as(name).containsExactly(expected, within(2e-5f));
        });
    for (int e = 0; e < 8; e++) {
      int expert = e;
      assertThat(parts.stream().mapToLong(p -> p.tokensPerExpert[1][expert]).sum())
          .isEqualTo(whole.tokensPerExpert[1][e]);
    }
  }

  private static Outcome pass(
      ModelConfig config, Collectives group, int[] ids, int[] targets, boolean crowded) {
    Model model = Model.create(config, new CpuBackend(), group);
    model.initialize(7);
    if (crowded) { // every token to two experts of one rank: the others have nothing to do
      model.buffers().values().forEach(b -> Arrays.fill(b.floats(), 6, 8, 10));
    }
    double loss = model.forwardBackward(ids, targets, ids.length / LENGTH, LENGTH, 0.1);
    Map<String, float[]> gradients = new HashMap<>();
    for (Parameter p : model.parameters()) {
      Tensor g = p.gradient();
      gradients.put(p.name(), Arrays.copyOfRange(g.floats(), g.offset(), g.offset() + g.size()));
    }
    return new Outcome(loss, gradients, model.statistics().tokensPerExpert());
  }

  @Test
  void ranksGenerateTogetherWhatOneGeneratesAlone() throws Exception {
    ModelConfig config = Models.tiny();
    int[][] prompts = {{1}, {2, 3, 4, 5, 6}, {7, 8, 9}};
    int[][] alone =
        new Generator(Models.random(config), Collectives.solo())
            .generate(prompts, 9, 3, Sampling.GREEDY);
    // Ranks 0 and 1 have prompts of different number and length, ranks 2 and 3 have none.
    int[][][] shares = {{prompts[0], prompts[1]}, {prompts[2]}, {}, {}};
    try (Fabric fabric = Fabric.local(4)) {
      List<int[][]> found =
          fabric.run(
              rank -> {
                Collectives group = fabric.collectives(rank, List.of(0, 1, 2, 3));
                Model model = Model.create(config, new CpuBackend(), group);
                model.initialize(7);
                return new Generator(model, group).generate(shares[rank], 9, 3, Sampling.GREEDY);
              });
      List<int[]> together = new ArrayList<>();
      found.forEach(f -> together.addAll(Arrays.asList(f)));
      assertThat(together.toArray(int[][]::new)).isDeepEqualTo(alone);
    }
  }
}
