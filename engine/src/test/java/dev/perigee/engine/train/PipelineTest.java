package dev.perigee.engine.train;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.train.TinyRun.Outcome;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every mesh and every schedule trains the same model. */
final class PipelineTest {
  private static final int STEPS = 30;
  private static final int LENGTH = 4;

  /** Eight layers, the first dense, so that eight chunks have one each or the ends none. */
  private static final ModelConfig MODEL =
      new ModelConfig(
          24, 8, 12, 6, 8, 1, 1, 0, 6, 4, 4, 4, 4, 2, 1, 1, 1, 1.4, true, 10_000, null, 64, 1e-6,
          0.1, false);

  private static RunConfig config(Mesh mesh, RunConfig.Pipeline pipeline) {
    RunConfig tiny = TinyRun.config(mesh, STEPS, TinyRun.OPTIMIZER);
    return new RunConfig(
        tiny.job(),
        tiny.seed(),
        new RunConfig.Model(MODEL, null),
        tiny.data(),
        tiny.tokenizer(),
        LENGTH,
        32 * LENGTH,
        mesh,
        tiny.optimizer(),
        new RunConfig.Schedule(2e-3, 10, 10, 2e-4),
        STEPS,
        tiny.checkpoint(),
        null,
        tiny.network(),
        pipeline,
        tiny.compute());
  }

  /** The run that all others are compared with. */
  private static double[] alone;

  @BeforeAll
  static void trainOnASingleRank() throws Exception {
    alone =
        TinyRun.run(config(Mesh.SINGLE, new RunConfig.Pipeline(1, 1, false, false, null))).getFirst().losses();
    System.out.println(Arrays.toString(alone));
  }

  static Stream<RunConfig> meshesAndSchedules() {
    List<RunConfig> all = new ArrayList<>();
    for (int stages : new int[] {1, 2, 4}) {
      for (int virtual : new int[] {1, 2}) {
        for (int expert : new int[] {1, 2, 4}) {
          for (int replicas : new int[] {1, 2}) {
            Mesh mesh =
                new Mesh(stages, expert * replicas, expert, stages * expert * replicas);
            for (boolean overlap : new boolean[] {false, true}) {
              for (boolean split : new boolean[] {false, true}) {
                all.add(
                    config(mesh, new RunConfig.Pipeline(virtual, 1, overlap, split, null)));
              }
            }
          }
        }
      }
    }
    return all.stream();
  }

  @Test
  void everyMeshAndScheduleGivesTheLossCurveOfASingleRank() throws Exception {
    for (RunConfig run : meshesAndSchedules().toList()) {
      long t0 = System.nanoTime();
      compare(run);
      System.out.println(run.mesh() + " " + run.pipeline() + " " + (System.nanoTime() - t0) / 1_000_000);
    }
  }

  private static void compare(RunConfig run) throws Exception {
    List<Outcome> ranks = TinyRun.run(run);
    double[] losses = ranks.getFirst().losses();
    double worst = 0;
    for (int step = 0; step < STEPS; step++) {
      worst = Math.max(worst, Math.abs(losses[step] - alone[step]) / alone[step]);
    }
    System.out.println("  worst " + worst);
    assertThat(worst).as("%s %s", run.mesh(), run.pipeline()).isLessThan(1e-5);
    for (Outcome rank : ranks) {
      assertThat(rank.losses()).isEqualTo(losses);
    }
  }
}
