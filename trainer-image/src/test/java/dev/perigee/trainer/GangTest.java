package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two pods of two ranks, as real processes: to the end, killed, stopped, and on again. */
class GangTest {
  private static final Mesh MESH = new Mesh(1, 4, 4, 2);
  private static final long STEPS = 150;
  private static final Duration LONG = Duration.ofMinutes(2);
  private static final Duration BOUND = Duration.ofSeconds(10);

  @TempDir static Path undisturbed;
  @TempDir Path folder;

  @BeforeAll
  static void trainUndisturbed() throws Exception {
    RunConfig config = Gang.config(undisturbed.resolve("volume"), MESH, STEPS);
    try (Gang gang = Gang.start(undisturbed, config)) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
    }
  }

  @Test
  void aRunLeavesCheckpointHistoryAndSummary() throws IOException {
    Path volume = undisturbed.resolve("volume");
    try (Stream<Path> entries = Files.list(volume)) {
      assertThat(entries.map(p -> p.getFileName().toString()))
          .containsExactlyInAnyOrder(
              "history.jsonl", "summary.json", "step-00000140", "step-00000150");
    }
    assertHistory(volume);
    RunStatus summary =
        new ObjectMapper().readValue(volume.resolve("summary.json").toFile(), RunStatus.class);
    assertThat(summary.phase()).isEqualTo(RunStatus.Phase.Done);
    assertThat(summary.step()).isEqualTo(STEPS);
    assertThat(summary.durableStep()).isEqualTo(STEPS);
    assertThat(summary.tokens()).isEqualTo(STEPS * 8 * 64);
    assertThat(summary.clippedHeads()).isPositive();
    assertThat(summary.evaluation().problems()).isEqualTo(8);
    assertThat(summary.evaluation().exact()).isBetween(0.0, 1.0);
    assertThat(summary.evaluation().sample()).isNotBlank();
  }

  @Test
  void afterKillingOnePodTheOtherSaysLostPeerAndTheRestartEndsInTheSameWeights() throws Exception {
    RunConfig config = Gang.config(folder.resolve("volume"), MESH, STEPS);
    try (Gang gang = Gang.start(folder, config)) {
      gang.awaitStep(45);
      gang.process(1).destroyForcibly();
      assertThat(gang.exits(BOUND).getFirst())
          .as(gang.output(0))
          .isEqualTo(ExitCode.LOST_PEER.code());
      assertThat(gang.output(0)).contains("perigee-trainer: ");
    }
    finish(config);
  }

  @Test
  void sigtermToOnePodStopsAllAfterSavingAndTheRestartEndsInTheSameWeights() throws Exception {
    RunConfig config = Gang.config(folder.resolve("volume"), MESH, STEPS);
    try (Gang gang = Gang.start(folder, config)) {
      gang.awaitStep(33);
      gang.process(1).destroy();
      assertThat(gang.exits(BOUND)).as(gang.output(0)).containsOnly(ExitCode.STOPPED.code());
      assertThat(gang.output(0)).contains("stopped after step");
    }
    finish(config);
  }

  /** Starts the job again, which goes on to the end, and compares it with the undisturbed run. */
  private void finish(RunConfig config) throws Exception {
    try (Gang gang = Gang.start(folder, config)) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
      assertThat(gang.output(0)).contains("resuming after step");
    }
    Path volume = folder.resolve("volume");
    assertHistory(volume);
    assertThat(checkpoint(volume)).isEqualTo(checkpoint(undisturbed.resolve("volume")));
  }

  private static void assertHistory(Path volume) throws IOException {
    List<String> lines = Files.readAllLines(volume.resolve("history.jsonl"));
    assertThat(lines).hasSize((int) STEPS);
    for (int i = 0; i < STEPS; i++) {
      History.Line line = new ObjectMapper().readValue(lines.get(i), History.Line.class);
      assertThat(line.step()).isEqualTo(i + 1L);
      assertThat(line.loss()).isPositive();
    }
  }

  /** Every file of the last checkpoint by name, as a hash of its bytes. */
  private static Map<String, Integer> checkpoint(Path volume) throws IOException {
    Path last = volume.resolve("step-00000150");
    Map<String, Integer> files = new TreeMap<>();
    try (Stream<Path> entries = Files.walk(last)) {
      for (Path file : entries.filter(Files::isRegularFile).toList()) {
        files.put(last.relativize(file).toString(), Arrays.hashCode(Files.readAllBytes(file)));
      }
    }
    assertThat(files).containsKey("model-00004-of-00004.safetensors");
    return files;
  }
}
