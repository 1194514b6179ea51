package dev.perigee.engine.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.withinPercentage;

import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.parallel.Pods;
import dev.perigee.engine.train.TinyRun.Outcome;
import dev.perigee.plan.Schedule;
import dev.perigee.plan.Step;
import dev.perigee.plan.StepPlan;
import dev.perigee.plan.Timeline;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Every mesh and every schedule trains the same model. */
final class PipelineTest {
  private static final int STEPS = 30;
  private static final int LENGTH = 4;
  private static final int SEQUENCES = 32;
  private static final int MICRO_BATCHES = 4;

  /** Six layers, the first dense; of eight chunks, embedding and head stand alone. */
  private static final ModelConfig MODEL =
      new ModelConfig(
          24, 8, 12, 6, 6, 1, 1, 0, 6, 4, 4, 4, 4, 2, 1, 1, 1, 1.4, true, 10_000, null, 64, 1e-6,
          0.1, false);

  private static RunConfig config(
      Mesh mesh, int virtual, boolean overlap, boolean split, List<Integer> layout) {
    RunConfig tiny = TinyRun.config(mesh, STEPS, TinyRun.OPTIMIZER);
    return new RunConfig(
            tiny.job(),
            tiny.seed(),
            new RunConfig.Model(MODEL, null),
            tiny.data(),
            tiny.tokenizer(),
            LENGTH,
            (long) SEQUENCES * LENGTH,
            mesh,
            tiny.optimizer(),
            new RunConfig.Schedule(2e-3, 10, 10, 2e-4),
            STEPS,
            tiny.checkpoint(),
            null,
            tiny.network())
        .with(
            new RunConfig.Pipeline(
                virtual, SEQUENCES / mesh.data() / MICRO_BATCHES, overlap, split, layout));
  }

  /** The run that all others are compared with. */
  private static double[] alone;

  @BeforeAll
  static void trainOnASingleRank() throws Exception {
    alone = TinyRun.run(config(Mesh.SINGLE, 1, false, false, null)).getFirst().losses();
  }

  private static List<Outcome> compare(RunConfig run) throws Exception {
    List<Outcome> ranks = TinyRun.run(run);
    double[] losses = ranks.getFirst().losses();
    double worst = 0;
    for (int step = 0; step < STEPS; step++) {
      worst = Math.max(worst, Math.abs(losses[step] - alone[step]) / alone[step]);
    }
    assertThat(worst).as("%s %s", run.mesh(), run.pipeline()).isLessThan(1e-5);
    for (Outcome rank : ranks) {
      assertThat(rank.losses()).isEqualTo(losses);
    }
    return ranks;
  }

  @ParameterizedTest
  @CsvSource({"1,1", "1,2", "2,1", "2,2", "4,1", "4,2"})
  void everyMeshAndScheduleGivesTheLossCurveOfASingleRank(int stages, int virtual)
      throws Exception {
    for (int expert : new int[] {1, 2, 4}) {
      for (int replicas : new int[] {1, 2}) {
        Mesh mesh = new Mesh(stages, expert * replicas, expert, stages * expert * replicas);
        for (boolean overlap : new boolean[] {false, true}) {
          for (boolean split : new boolean[] {false, true}) {
            compare(config(mesh, virtual, overlap, split, null));
          }
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    // stages, virtual, data, expert, ranks in a pod, overlap, split
    "2,1,1,1,1,false,false", // stages in different pods
    "2,2,2,2,2,true,false", // likewise, interleaved
    "2,1,4,4,2,true,true", // experts of one group in two pods
    "4,2,2,2,2,false,true", // a pod for each stage
    "4,1,2,1,4,false,false", // two stages in a pod
  })
  void overTcpTheLossCurveIsTheSameAndEveryRunHasTheSameBits(
      int stages,
      int virtual,
      int data,
      int expert,
      int ranksPerPod,
      boolean overlap,
      boolean split)
      throws Exception {
    RunConfig run =
        config(new Mesh(stages, data, expert, ranksPerPod), virtual, overlap, split, null);
    Map<String, float[]> weights = new TreeMap<>();
    compare(run).forEach(rank -> weights.putAll(rank.weights()));
    TinyRun.run(run)
        .forEach(
            rank ->
                rank.weights()
                    .forEach((name, w) -> assertThat(w).as(name).isEqualTo(weights.get(name))));
  }

  @Test
  void aLayoutByHandTrainsTheSameModel() throws Exception {
    compare(config(new Mesh(2, 1, 1, 2), 1, false, false, List.of(5, 1)));
    compare(config(new Mesh(2, 1, 1, 2), 2, true, true, List.of(0, 4, 2, 0)));
  }

  @Test
  void theReportOfEveryRankHasTheLogitsAndTheTokensOfAllStages() throws Exception {
    StepReport whole =
        TinyRun.run(config(Mesh.SINGLE, 1, false, false, null)).getFirst().reports().getFirst();
    for (Outcome rank : TinyRun.run(config(new Mesh(4, 2, 2, 8), 2, true, false, null))) {
      StepReport report = rank.reports().getFirst();
      assertThat(report.tokensPerExpert()).isDeepEqualTo(whole.tokensPerExpert());
      assertThat(report.gradNorm()).isCloseTo(whole.gradNorm(), withinPercentage(1e-3));
      for (int layer = 0; layer < 6; layer++) {
        assertThat(report.maxLogit()[layer][0])
            .isCloseTo(whole.maxLogit()[layer][0], withinPercentage(1e-2));
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,2,2,1,false,true",
    "2,1,1,1,true,false",
    "2,1,2,2,true,true",
    "4,2,2,2,true,true",
    "4,2,4,2,false,false"
  })
  void gradientsAreThoseOfASingleRank(
      int stages, int virtual, int data, int expert, boolean overlap, boolean split)
      throws Exception {
    Mesh mesh = new Mesh(stages, data, expert, stages * data);
    Map<String, double[]> whole = gradients(config(Mesh.SINGLE, 1, false, false, null));
    Map<String, double[]> shared = gradients(config(mesh, virtual, overlap, split, null));
    assertThat(shared.keySet()).isEqualTo(whole.keySet());
    whole.forEach(
        (name, expected) -> {
          double norm = 0;
          double difference = 0;
          for (int i = 0; i < expected.length; i++) {
            norm += expected[i] * expected[i];
            difference += Math.pow(shared.get(name)[i] - expected[i], 2);
          }
          assertThat(Math.sqrt(difference)).as(name).isLessThanOrEqualTo(1e-4 * Math.sqrt(norm));
        });
  }

  /** Gradients of one batch by name, added up over the ranks that hold the same parameter. */
  private static Map<String, double[]> gradients(RunConfig run) throws Exception {
    Map<String, double[]> sums = new TreeMap<>();
    Fabric fabric = Fabric.local(run.mesh().world());
    fabric.run(
        rank -> {
          TinyRun tiny = new TinyRun(fabric, run, rank);
          tiny.passes(1);
          synchronized (sums) {
            tiny.model
                .parameters()
                .forEach(
                    p -> {
                      double[] sum =
                          sums.computeIfAbsent(p.name(), n -> new double[p.gradient().size()]);
                      float[] own = TinyRun.numbers(p.gradient());
                      for (int i = 0; i < sum.length; i++) {
                        sum[i] += own[i];
                      }
                    });
          }
          return null;
        });
    return sums;
  }

  @Test
  void aRecordedStepHasEveryEventOfTheScheduleInItsOrder() throws Exception {
    RunConfig run = config(new Mesh(2, 2, 2, 4), 2, true, true, null);
    Schedule schedule = StepPlan.of(run, MODEL).schedule(MODEL);
    Fabric fabric = Fabric.local(4);
    List<TrackRecorder> ranks =
        fabric.run(
            rank -> {
              TinyRun tiny = new TinyRun(fabric, run, rank);
              TrackRecorder recorder = new TrackRecorder();
              tiny.record(1, recorder);
              return recorder;
            });
    Timeline timeline = TrackRecorder.timeline(ranks);
    for (int rank = 0; rank < 4; rank++) {
      List<Step> steps = schedule.steps().get(rank / 2);
      Map<String, Timeline.Event> events = new HashMap<>();
      timeline.tracks().get(rank).events().forEach(e -> events.put(e.name(), e));
      assertThat(events.keySet())
          .containsExactlyInAnyOrderElementsOf(steps.stream().map(Step::name).toList());
      assertThat(timeline.tracks().get(rank).computed())
          .isEqualTo(steps.stream().filter(s -> s.action().computes()).map(Step::name).toList());
      for (Step step : steps) {
        for (Step needed : schedule.needs(step)) {
          if (step.action().computes() && steps.contains(needed)) {
            assertThat(events.get(needed.name()).end())
                .as("%s before %s", needed, step)
                .isLessThanOrEqualTo(events.get(step.name()).start());
          }
        }
      }
    }
    assertThat(timeline.bubbleShare()).isBetween(0.0, 1.0);
  }

  @ParameterizedTest
  @CsvSource({"false", "true"})
  @Timeout(60)
  void whenARankIsLostInTheMiddleOfAStepEveryOtherRankEndsWithinTenSeconds(boolean overlap)
      throws Exception {
    RunConfig run = config(new Mesh(2, 4, 4, 2), 2, overlap, false, null);
    AtomicLong lost = new AtomicLong();
    List<Throwable> ends = new ArrayList<>();
    try (Pods pods = Pods.connect(4, 2)) {
      pods.run(
          (fabric, rank) -> {
            TinyRun tiny = new TinyRun(fabric, run, rank);
            Throwable end =
                catchThrowable(
                    () ->
                        tiny.steps(
                            1,
                            STEPS,
                            (number, ids, targets, at) -> {
                              if (rank == 6 && number >= 5 * SEQUENCES + 18) {
                                lost.set(System.nanoTime());
                                fabric.abort("rank 6 is gone"); // its pod leaves the gang
                              }
                              TinyRun.pattern(number, MODEL.vocabSize(), LENGTH, ids, targets, at);
                            }));
            synchronized (ends) {
              ends.add(end);
            }
            return null;
          });
    }
    assertThat(ends).hasSize(8).allMatch(e -> e instanceof LostPeerException);
    assertThat((System.nanoTime() - lost.get()) / 1e9).isLessThan(10);
  }
}
