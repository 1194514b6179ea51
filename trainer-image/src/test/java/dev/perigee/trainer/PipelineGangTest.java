package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.plan.ChromeTrace;
import dev.perigee.plan.MeasuredCosts;
import dev.perigee.plan.Schedule;
import dev.perigee.plan.Step;
import dev.perigee.plan.StepPlan;
import dev.perigee.plan.Timeline;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A pipeline over pods, as real processes: trained, scored, killed, and gone on with. */
class PipelineGangTest {
  private static final long STEPS = 40;
  private static final Duration LONG = Duration.ofMinutes(2);
  private static final Duration BOUND = Duration.ofSeconds(10);

  @TempDir Path folder;

  private RunConfig config(String volume, Mesh mesh, RunConfig.Pipeline pipeline) {
    return Gang.config(folder.resolve(volume), mesh, STEPS).with(pipeline);
  }

  @Test
  void stagesInDifferentPodsTrainAndScoreLikeOneRankAndSurviveALostPod() throws Exception {
    try (Gang gang =
        Gang.start(
            folder, config("one", Mesh.SINGLE, new RunConfig.Pipeline(1, 2, false, false, null)))) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
    }
    RunConfig stages =
        config("stages", new Mesh(2, 2, 2, 2), new RunConfig.Pipeline(2, 2, true, true, null))
            .with(new RunConfig.Trace(30));
    try (Gang gang = Gang.start(folder, stages)) {
      gang.awaitStep(25);
      gang.process(1).destroyForcibly();
      assertThat(gang.exits(BOUND).getFirst())
          .as(gang.output(0))
          .isEqualTo(ExitCode.LOST_PEER.code());
    }
    try (Gang gang = Gang.start(folder, stages)) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
      assertThat(gang.output(0))
          .contains("resuming after step 20")
          .contains(
              "pipeline of 2 stages of 2 chunks, 2 micro-batches of 2 sequences, experts overlap,"
                  + " weight gradients apart: embedding | 0 | 1 | head");
    }
    theTimelineOfItsStepHasEveryRanksPart(stages);
    List<String> one = Files.readAllLines(folder.resolve("one/history.jsonl"));
    List<String> other = Files.readAllLines(folder.resolve("stages/history.jsonl"));
    assertThat(other).hasSize((int) STEPS);
    for (int i = 0; i < STEPS; i++) {
      assertThat(loss(other.get(i))).isCloseTo(loss(one.get(i)), within(1e-3));
    }
    RunStatus.Evaluation score = summary("stages").evaluation();
    assertThat(score.problems()).isEqualTo(8);
    assertThat(score.sample()).isNotBlank();
  }

  private void theTimelineOfItsStepHasEveryRanksPart(RunConfig run) throws IOException {
    try (Stream<Path> files = Files.list(folder.resolve("stages/traces"))) {
      assertThat(files.map(f -> f.getFileName().toString())).containsExactly("step-00000030.json");
    }
    Timeline timeline = ChromeTrace.read(folder.resolve("stages/traces/step-00000030.json"));
    Schedule schedule = StepPlan.of(run, Gang.MODEL).schedule(Gang.MODEL);
    assertThat(timeline.tracks())
        .extracting(Timeline.Track::name)
        .containsExactly("rank 0", "rank 1", "rank 2", "rank 3");
    for (int rank = 0; rank < 4; rank++) {
      assertThat(timeline.tracks().get(rank).computed())
          .isEqualTo(
              schedule.steps().get(rank / 2).stream()
                  .filter(s -> s.action().computes())
                  .map(Step::name)
                  .toList());
    }
    // Of one step, on one machine: all ranks' events are within the time of a step or so.
    assertThat(timeline.tracks().getFirst().events().getFirst().start()).isBetween(0.0, 5.0);
    assertThat(timeline.span()).isBetween(0.0, 20.0);
    assertThat(MeasuredCosts.of(timeline).calibration().forwardSeconds()).isPositive();
  }

  private static double loss(String line) throws IOException {
    return new ObjectMapper().readValue(line, History.Line.class).loss();
  }

  private RunStatus summary(String volume) throws IOException {
    return new ObjectMapper()
        .readValue(folder.resolve(volume).resolve("summary.json").toFile(), RunStatus.class);
  }
}
