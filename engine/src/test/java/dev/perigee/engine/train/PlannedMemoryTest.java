package dev.perigee.engine.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.plan.Calibration;
import dev.perigee.plan.Hardware;
import dev.perigee.plan.Layout;
import dev.perigee.plan.Plan;
import dev.perigee.plan.RankMemory;
import dev.perigee.plan.Workload;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunConfig.Memory;
import dev.perigee.run.RunConfig.Memory.Fp8;
import dev.perigee.run.RunConfig.Memory.Recompute;
import dev.perigee.run.RunConfig.Pipeline;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The planner's count of memory is what a run measures: its activations are the arena's peak, its
 * weights, gradients and optimizer state the tensors of the rank.
 */
class PlannedMemoryTest {
  private static final int LENGTH = 64;
  private static final ModelConfig MIXTURE =
      new ModelConfig(
          300, 72, 144, 36, 4, 1, 4, 32, 32, 16, 8, 16, 16, 4, 1, 1, 1, 1.4, true, 10_000, null,
          256, 1e-6, 0.02, false);
  private static final ModelConfig DENSE =
      new ModelConfig(
          500, 96, 256, 0, 3, 3, 6, 0, 48, 16, 8, 16, 0, 0, 0, 1, 1, 1, true, 10_000, null, 256,
          1e-6, 0.02, true);

  static Stream<Arguments> runs() {
    Pipeline plain = Pipeline.DEFAULT;
    Memory kept = Memory.DEFAULT;
    return Stream.of(
        run("one rank", MIXTURE, new Mesh(1, 1, 1, 1), plain, kept),
        run("a dense model", DENSE, new Mesh(1, 2, 1, 2), plain, kept),
        run("experts over four ranks", MIXTURE, new Mesh(1, 4, 4, 4), plain, kept),
        run("experts twice", MIXTURE, new Mesh(1, 4, 2, 4), plain, kept),
        run("two stages", MIXTURE, new Mesh(2, 1, 1, 2), plain, kept),
        run("four stages", MIXTURE, new Mesh(4, 1, 1, 4), pipeline(1, false, false), kept),
        run("two virtual stages", MIXTURE, new Mesh(2, 1, 1, 2), pipeline(2, false, false), kept),
        run("overlap", MIXTURE, new Mesh(2, 2, 2, 4), pipeline(1, true, false), kept),
        run("split", MIXTURE, new Mesh(2, 1, 1, 2), pipeline(1, false, true), kept),
        run("overlap, split", MIXTURE, new Mesh(2, 2, 2, 4), pipeline(1, true, true), kept),
        run(
            "overlap, split, recompute",
            MIXTURE,
            new Mesh(2, 2, 2, 4),
            pipeline(1, true, true),
            recompute(Set.of())),
        run("recompute", MIXTURE, new Mesh(2, 1, 1, 2), plain, recompute(Set.of())),
        run(
            "eight bits",
            MIXTURE,
            new Mesh(2, 1, 1, 2),
            plain,
            recompute(EnumSet.allOf(Fp8.class))),
        run(
            "offload",
            MIXTURE,
            new Mesh(4, 1, 1, 4),
            pipeline(1, true, false),
            new Memory(Set.of(), Set.of(), true, 32)));
  }

  private static Pipeline pipeline(int virtualStages, boolean overlap, boolean split) {
    return new Pipeline(virtualStages, 2, overlap, split, null);
  }

  private static Memory recompute(Set<Fp8> fp8) {
    return new Memory(EnumSet.allOf(Recompute.class), fp8, false, 32);
  }

  private static Arguments run(
      String name, ModelConfig model, Mesh mesh, Pipeline pipeline, Memory memory) {
    RunConfig tiny = TinyRun.config(mesh, 2, TinyRun.OPTIMIZER);
    RunConfig run =
        new RunConfig(
            tiny.job(),
            tiny.seed(),
            new RunConfig.Model(model, null),
            tiny.data(),
            tiny.tokenizer(),
            LENGTH,
            64L * LENGTH,
            mesh,
            tiny.optimizer(),
            tiny.schedule(),
            20,
            tiny.checkpoint(),
            null,
            tiny.network(),
            pipeline,
            memory,
            tiny.compute());
    return Arguments.of(name, run);
  }

  private record Measured(long activations, long state) {}

  @ParameterizedTest(name = "{0}")
  @MethodSource("runs")
  void thePlannerCountsWhatARankHolds(String name, RunConfig run) throws Exception {
    Plan plan =
        Plan.of(
            Workload.of(run),
            Layout.of(run),
            new Hardware.Cpu(null, run.mesh().ranksPerPod()),
            Calibration.DEFAULT);
    Fabric fabric = Fabric.local(run.mesh().world());
    List<Measured> measured = fabric.run(rank -> measure(fabric, run, rank));
    for (RankMemory planned : plan.memory()) {
      int data = run.mesh().data();
      List<Measured> stage = measured.subList(planned.stage() * data, (planned.stage() + 1) * data);
      // The planner spreads tokens evenly over experts; over the ranks of a stage they are.
      double activations = stage.stream().mapToLong(Measured::activations).average().orElseThrow();
      assertThat(planned.activations() / activations)
          .as("activations of stage %d", planned.stage())
          .isCloseTo(1, within(0.05));
      assertThat(planned.parameters() + planned.gradients() + planned.optimizer())
          .as("weights, gradients and state of stage %d", planned.stage())
          .isEqualTo(stage.stream().mapToLong(Measured::state).max().orElseThrow());
    }
  }

  private static Measured measure(Fabric fabric, RunConfig run, int rank) {
    TinyRun tiny = new TinyRun(fabric, run, rank);
    int vocabulary = run.model().config().vocabSize();
    tiny.steps(
        1,
        1,
        (number, ids, targets, at) -> {
          SplittableRandom random = new SplittableRandom(number);
          for (int i = 0; i < LENGTH; i++) {
            ids[at + i] = random.nextInt(vocabulary);
            targets[at + i] = random.nextInt(vocabulary);
          }
        });
    long weights = tiny.model.parameters().stream().mapToLong(p -> p.value().size()).sum();
    long untrained = bytes(tiny.model.buffers().values().stream());
    return new Measured(
        tiny.model.backend().arena().peakBytes(),
        8 * weights + untrained + bytes(tiny.optimizer.state().values().stream()));
  }

  private static long bytes(Stream<Tensor> tensors) {
    return tensors.mapToLong(t -> 4L * t.size()).sum();
  }
}
