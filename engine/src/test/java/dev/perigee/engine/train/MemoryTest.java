package dev.perigee.engine.train;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.parallel.Fabric;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunConfig.Memory;
import dev.perigee.run.RunConfig.Memory.Fp8;
import dev.perigee.run.RunConfig.Memory.Recompute;
import dev.perigee.run.RunConfig.Pipeline;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Every way to need less memory trains as everything kept does, as far as it promises. */
final class MemoryTest {
  private static final int STEPS = 6;
  private static final Memory EVERYTHING_AGAIN =
      new Memory(EnumSet.allOf(Recompute.class), Set.of(), false, 32);

  /** What a rank ends with, and the most that its arena handed out. */
  private record End(TinyRun.Outcome outcome, long peakBytes, long hostBytes) {}

  private static List<End> run(RunConfig config) throws Exception {
    Fabric fabric = Fabric.local(config.mesh().world());
    return fabric.run(
        rank -> {
          TinyRun run = new TinyRun(fabric, config, rank);
          TinyRun.Outcome outcome = run.steps(1, config.steps());
          return new End(
              outcome,
              run.model.backend().arena().peakBytes(),
              run.model.backend().hostStore().peakBytes());
        });
  }

  private static RunConfig config(Mesh mesh, Pipeline pipeline, Memory memory) {
    return TinyRun.config(mesh, STEPS, TinyRun.OPTIMIZER).with(pipeline).with(memory);
  }

  private static void assertSameBits(List<End> actual, List<End> expected) {
    assertThat(actual).hasSameSizeAs(expected);
    for (int rank = 0; rank < expected.size(); rank++) {
      TinyRun.Outcome theirs = expected.get(rank).outcome;
      TinyRun.Outcome ours = actual.get(rank).outcome;
      assertThat(ours.losses()).isEqualTo(theirs.losses());
      theirs
          .weights()
          .forEach(
              (name, weights) ->
                  assertThat(Arrays.equals(ours.weights().get(name), weights)).as(name).isTrue());
    }
  }

  private static final Mesh FOUR = new Mesh(1, 4, 2, 4);

  @ParameterizedTest
  @EnumSource(Recompute.class)
  void whatIsComputedAgainIsBitwiseTheSameAndTakesLessMemory(Recompute what) throws Exception {
    List<End> kept = run(config(FOUR, Pipeline.DEFAULT, Memory.DEFAULT));
    Memory memory = new Memory(Set.of(what), Set.of(), false, 32);
    List<End> again = run(config(FOUR, Pipeline.DEFAULT, memory));
    assertSameBits(again, kept);
    for (int rank = 0; rank < 4; rank++) {
      assertThat(again.get(rank).peakBytes).isLessThan(kept.get(rank).peakBytes);
    }
  }

  static Stream<Pipeline> waysThroughTheStages() {
    return Stream.of(
        new Pipeline(1, 1, false, false, null),
        new Pipeline(1, 1, true, false, List.of(2, 1)),
        new Pipeline(1, 1, false, true, null),
        new Pipeline(1, 1, true, true, List.of(1, 2)));
  }

  @ParameterizedTest
  @MethodSource("waysThroughTheStages")
  void everythingIsComputedAgainInEverySchedule(Pipeline pipeline) throws Exception {
    Mesh mesh = new Mesh(2, 2, 2, 4);
    List<End> kept = run(config(mesh, pipeline, Memory.DEFAULT));
    List<End> again = run(config(mesh, pipeline, EVERYTHING_AGAIN));
    assertSameBits(again, kept);
    for (int rank = 0; rank < 4; rank++) {
      // Measured 0.77 to 0.89 of it.
      assertThat(again.get(rank).peakBytes).isLessThan(kept.get(rank).peakBytes * 92 / 100);
    }
  }

  static Stream<RunConfig> waysInWhichActivationsWait() {
    List<Integer> layout = List.of(1, 1, 1, 0);
    return Stream.of(
        config(new Mesh(4, 1, 1, 4), new Pipeline(1, 1, true, false, layout), Memory.DEFAULT),
        config(new Mesh(4, 1, 1, 4), new Pipeline(1, 1, true, true, layout), Memory.DEFAULT),
        config(new Mesh(2, 2, 2, 4), new Pipeline(2, 1, false, false, layout), Memory.DEFAULT));
  }

  @ParameterizedTest
  @MethodSource("waysInWhichActivationsWait")
  void activationsThatWaitOnTheHostComeBackBitwise(RunConfig config) throws Exception {
    List<End> kept = run(config);
    List<End> away = run(config.with(new Memory(Set.of(), Set.of(), true, 32)));
    assertSameBits(away, kept);
    // The first stage waits longest.
    assertThat(away.getFirst().hostBytes).isPositive();
    assertThat(away.getFirst().peakBytes).isLessThan(kept.getFirst().peakBytes * 9 / 10);
    // With everything else at once.
    Memory all = new Memory(EnumSet.allOf(Recompute.class), Set.of(), true, 1);
    assertSameBits(run(config.with(all)), kept);
  }

  @ParameterizedTest
  @EnumSource(Fp8.class)
  void eightBitsLearnAsWellAndTakeLessMemory(Fp8 what) throws Exception {
    List<End> kept = run(config(FOUR, Pipeline.DEFAULT, Memory.DEFAULT));
    Memory memory = new Memory(Set.of(), Set.of(what), false, 32);
    List<End> eight = run(config(FOUR, Pipeline.DEFAULT, memory));
    double[] losses = eight.getFirst().outcome.losses();
    double[] exact = kept.getFirst().outcome.losses();
    assertThat(losses[0]).as("forward is not touched").isEqualTo(exact[0]);
    for (int step = 0; step < STEPS; step++) {
      assertThat(Math.abs(losses[step] - exact[step]) / exact[step]).isLessThan(1e-3);
    }
    assertThat(eight.getFirst().peakBytes).isLessThan(kept.getFirst().peakBytes);
  }
}
