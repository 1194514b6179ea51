package dev.perigee.engine.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class TrainStepTest {
  private static final int STEPS = 50;

  private static List<TinyRun.Outcome> run(Mesh mesh) throws Exception {
    return TinyRun.run(TinyRun.config(mesh, STEPS, TinyRun.OPTIMIZER));
  }

  /** The run that all meshes are compared with. */
  private static double[] alone;

  @BeforeAll
  static void trainOnASingleRank() throws Exception {
    alone = run(Mesh.SINGLE).getFirst().losses();
  }

  @ParameterizedTest
  @CsvSource({"2,1,2", "4,1,4", "2,2,2", "4,2,4", "4,4,4", "4,4,2", "4,2,2", "4,1,1"})
  void everyMeshGivesTheLossCurveOfASingleRank(int data, int expert, int ranksPerPod)
      throws Exception {
    List<TinyRun.Outcome> ranks = run(new Mesh(1, data, expert, ranksPerPod));
    double[] losses = ranks.getFirst().losses();
    double worst = 0;
    for (int step = 0; step < STEPS; step++) {
      worst = Math.max(worst, Math.abs(losses[step] - alone[step]) / alone[step]);
    }
    assertThat(worst).isLessThan(1e-5);
    for (TinyRun.Outcome rank : ranks) {
      assertThat(rank.losses()).isEqualTo(losses);
    }
  }

  @Test
  void theSameSeedAndMeshGiveTheSameBits() throws Exception {
    Mesh mesh = new Mesh(1, 4, 2, 2);
    List<TinyRun.Outcome> one = run(mesh);
    List<TinyRun.Outcome> other = run(mesh);
    for (int rank = 0; rank < 4; rank++) {
      assertThat(other.get(rank).losses()).isEqualTo(one.get(rank).losses());
      for (String name : one.get(rank).weights().keySet()) {
        assertThat(
                Arrays.equals(
                    other.get(rank).weights().get(name), one.get(rank).weights().get(name)))
            .as(name)
            .isTrue();
      }
    }
  }

  @Test
  void aRunThatTakesItsStateFromAnotherMeshGoesOnLikeAnUndisturbedOne() throws Exception {
    Mesh before = new Mesh(1, 2, 2, 2);
    List<TinyRun.Outcome> whole = TinyRun.run(TinyRun.config(before, 12, TinyRun.OPTIMIZER));
    Map<String, float[]> saved = new TreeMap<>();
    Fabric first = Fabric.local(2);
    first.run(
        rank -> {
          TinyRun run = new TinyRun(first, TinyRun.config(before, 12, TinyRun.OPTIMIZER), rank);
          run.steps(1, 6);
          synchronized (saved) {
            saved.putAll(run.weights());
            run.optimizer.state().forEach((name, t) -> saved.put(name, TinyRun.numbers(t)));
          }
          return null;
        });
    for (Mesh after : List.of(before, new Mesh(1, 4, 4, 4), Mesh.SINGLE)) {
      Fabric second = Fabric.local(after.world());
      List<TinyRun.Outcome> rest =
          second.run(
              rank -> {
                TinyRun run =
                    new TinyRun(second, TinyRun.config(after, 12, TinyRun.OPTIMIZER), rank);
                run.restore(saved);
                return run.steps(7, 12);
              });
      double[] losses = rest.getFirst().losses();
      double[] undisturbed = Arrays.copyOfRange(whole.getFirst().losses(), 6, 12);
      if (after.equals(before)) {
        assertThat(losses).isEqualTo(undisturbed);
        for (int rank = 0; rank < 2; rank++) {
          for (String name : whole.get(rank).weights().keySet()) {
            assertThat(rest.get(rank).weights().get(name))
                .as(name)
                .isEqualTo(whole.get(rank).weights().get(name));
          }
        }
      } else {
        assertThat(losses).hasSameSizeAs(undisturbed);
        for (int i = 0; i < losses.length; i++) {
          assertThat(losses[i]).isCloseTo(undisturbed[i], within(1e-5 * undisturbed[i]));
        }
      }
    }
  }

  @Test
  void clippedHeadsAreReportedAndTheirLogitsFallToTheThreshold() throws Exception {
    double threshold = 0.02;
    RunConfig.Optimizer optimizer =
        new RunConfig.Optimizer(
            RunConfig.Optimizer.Kind.MuonClip,
            0.1,
            1,
            RunConfig.Optimizer.Muon.DEFAULT,
            RunConfig.Optimizer.AdamW.DEFAULT,
            new RunConfig.Optimizer.QkClip(threshold, 0.5),
            1e-3);
    for (StepReport report :
        TinyRun.run(TinyRun.config(new Mesh(1, 2, 2, 2), 8, optimizer)).getFirst().reports()) {
      int above = 0;
      for (int layer = 0; layer < report.maxLogit().length; layer++) {
        for (int head = 0; head < report.maxLogit()[layer].length; head++) {
          float largest = report.maxLogit()[layer][head];
          above += largest > threshold ? 1 : 0;
          assertThat(report.clipFactor()[layer][head])
              .isEqualTo(largest > threshold ? (float) (threshold / largest) : 1);
        }
      }
      assertThat(report.clippedHeads()).isEqualTo(above);
      assertThat(report.step() < 4 || above > 0).as("heads are clipped").isTrue();
    }
  }

  @Test
  void plainAdamWLearnsWithoutClippingHeads() throws Exception {
    RunConfig.Optimizer adamW =
        new RunConfig.Optimizer(
            RunConfig.Optimizer.Kind.AdamW,
            0.1,
            1,
            RunConfig.Optimizer.Muon.DEFAULT,
            RunConfig.Optimizer.AdamW.DEFAULT,
            new RunConfig.Optimizer.QkClip(1e-3, 0.5),
            1e-3);
    List<StepReport> reports =
        TinyRun.run(TinyRun.config(Mesh.SINGLE, 40, adamW)).getFirst().reports();
    assertThat(reports.getLast().loss()).isLessThan(reports.getFirst().loss() - 0.3);
    assertThat(reports).allMatch(r -> r.clippedHeads() == 0);
  }

  @Test
  void theReportCountsEveryTokenAtEveryExpert() throws Exception {
    StepReport report =
        TinyRun.run(TinyRun.config(new Mesh(1, 4, 2, 2), 1, TinyRun.OPTIMIZER))
            .getFirst()
            .reports()
            .getFirst();
    assertThat(report.tokens()).isEqualTo(512);
    assertThat(report.tokensPerExpert()).hasNumberOfRows(2);
    for (long[] layer : report.tokensPerExpert()) {
      assertThat(Arrays.stream(layer).sum()).isEqualTo(512 * 2);
    }
    assertThat(report.loss()).isCloseTo(Math.log(48), within(0.1));
    assertThat(report.learningRate()).isEqualTo(5e-4);
    assertThat(report.expertImbalance()).isGreaterThanOrEqualTo(1);
  }

  @Test
  void aGradientThatIsNotFiniteStopsEveryRankAndNamesTheStepAndTheParameter() throws Exception {
    Fabric fabric = Fabric.local(2);
    RunConfig config = TinyRun.config(new Mesh(1, 2, 2, 2), 5, TinyRun.OPTIMIZER);
    List<Throwable> ends =
        fabric.run(
            rank -> {
              TinyRun run = new TinyRun(fabric, config, rank);
              run.steps(1, 2);
              if (rank == 1) {
                // Only this rank's last expert is broken; its gradient becomes so too.
                Tensor broken =
                    run.model.parameter("model.layers.2.mlp.experts.7.down_proj.weight").value();
                broken.floats()[broken.offset()] = Float.NaN;
              }
              return catchThrowable(() -> run.steps(3, 3));
            });
    assertThat(ends)
        .allSatisfy(
            e ->
                assertThat(e)
                    .isInstanceOf(NotFiniteException.class)
                    .hasMessageContaining("step 3: the gradient of model.")
                    .hasMessageContaining("is not finite"));
    assertThat(ends.get(0)).hasMessage(ends.get(1).getMessage());
  }

  @Test
  void aForwardPassThatDivergesNamesTheStep() {
    Fabric fabric = Fabric.local(1);
    TinyRun run = new TinyRun(fabric, TinyRun.config(Mesh.SINGLE, 5, TinyRun.OPTIMIZER), 0);
    Tensor embedding = run.model.parameter("model.embed_tokens.weight").value();
    Arrays.fill(embedding.floats(), 0, 48 * 32, Float.NaN);
    assertThatThrownBy(() -> run.steps(4, 4))
        .isInstanceOf(NotFiniteException.class)
        .hasMessageContaining("step 4");
  }

  @Test
  void aBatchWithoutTargetsIsSaidAndChangesNothing() {
    TinyRun run =
        new TinyRun(Fabric.local(1), TinyRun.config(Mesh.SINGLE, 5, TinyRun.OPTIMIZER), 0);
    Map<String, float[]> before = run.weights();
    assertThatThrownBy(
            () -> run.steps(2, 2, (n, ids, targets, at) -> Arrays.fill(targets, at, at + 32, -1)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("step 2: no token of the batch has a target");
    run.weights().forEach((name, w) -> assertThat(w).as(name).isEqualTo(before.get(name)));
  }
}
