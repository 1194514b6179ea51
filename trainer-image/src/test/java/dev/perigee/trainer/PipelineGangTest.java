package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
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
        config("stages", new Mesh(2, 2, 2, 2), new RunConfig.Pipeline(2, 2, true, true, null));
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

  private static double loss(String line) throws IOException {
    return new ObjectMapper().readValue(line, History.Line.class).loss();
  }

  private RunStatus summary(String volume) throws IOException {
    return new ObjectMapper()
        .readValue(folder.resolve(volume).resolve("summary.json").toFile(), RunStatus.class);
  }
}
