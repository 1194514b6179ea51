package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
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
  private static String lastWords;

  @TempDir Path folder;

  @BeforeAll
  static void trainUndisturbed() throws Exception {
    RunConfig config = Gang.config(undisturbed.resolve("volume"), MESH, STEPS);
    try (Gang gang = Gang.start(undisturbed, config)) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
      lastWords = Files.readString(gang.root(0).resolve(RunFiles.TERMINATION_LOG));
    }
  }

  @Test
  void theLastWordsAreTheFinalStatusAndShortEnoughToBeKept() throws IOException {
    RunStatus last = new ObjectMapper().readValue(lastWords, RunStatus.class);
    assertThat(last.phase()).isEqualTo(RunStatus.Phase.Done);
    assertThat(last.step()).isEqualTo(STEPS);
    assertThat(last.durableStep()).isEqualTo(STEPS);
    assertThat(last.evaluation().problems()).isEqualTo(8);
    assertThat(lastWords.getBytes(StandardCharsets.UTF_8).length).isLessThanOrEqualTo(4096);
  }

  @Test
  void aRunLeavesCheckpointHistoryAndSummary() throws IOException {
    Path volume = undisturbed.resolve("volume");
    try (Stream<Path> entries = Files.list(volume)) {
      assertThat(entries.map(p -> p.getFileName().toString()))
          .containsExactlyInAnyOrder(
              "history.jsonl", "summary.json", "writer.json", "step-00000140", "step-00000150");
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

  /** As on a node that is believed to be dead and is not. */
  @Test
  void aGangThatIsStillAliveEndsWithItsNextSaveWhenAnotherHasItsPlace() throws Exception {
    Path volume = folder.resolve("volume");
    Path old = Files.createDirectory(folder.resolve("old"));
    Path next = Files.createDirectory(folder.resolve("next"));
    try (Gang alive = Gang.start(old, Gang.config(volume, MESH, 1_000_000))) {
      alive.awaitStep(25);
      try (Gang successor = Gang.start(next, Gang.config(volume, MESH, STEPS))) {
        assertThat(successor.exits(BOUND))
            .as(successor.output(0))
            .containsOnly(ExitCode.DONE.code());
      }
      assertThat(alive.exits(BOUND).getFirst())
          .as(alive.output(0))
          .isEqualTo(ExitCode.BAD_CONFIG.code());
      assertThat(alive.output(0)).contains("writer.json: start 1 of test/tiny writes here since");
    }
    assertHistory(volume);
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

  @Test
  void anotherMeshGoesOnFromTheSameCheckpointAndAnotherJobFromItsWeights() throws Exception {
    Path volume = Files.createDirectories(folder.resolve("volume"));
    copy(undisturbed.resolve("volume/step-00000150"), volume.resolve("step-00000150"));
    RunConfig longer = Gang.config(volume, Mesh.SINGLE, STEPS + 5);
    try (Gang gang = Gang.start(folder, longer)) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
      assertThat(gang.output(0)).contains("resuming after step 150").doesNotContain("now and was");
    }
    double reached = loss(undisturbed.resolve("volume"), 149);
    assertThat(loss(volume, 0)).isLessThan(1.5 * reached);

    Path fresh = folder.resolve("fresh");
    RunConfig from =
        fromWeights(Gang.config(fresh, Mesh.SINGLE, 1), volume.resolve("step-00000155"));
    try (Gang gang = Gang.start(folder, from)) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
      assertThat(gang.output(0)).contains("weights from").doesNotContain("resuming");
    }
    assertThat(loss(fresh, 0)).isLessThan(1.5 * reached);
    assertThat(loss(undisturbed.resolve("volume"), 0)).isGreaterThan(2 * reached);
  }

  private static RunConfig fromWeights(RunConfig c, Path weights) {
    return new RunConfig(
        c.job(),
        c.seed(),
        new RunConfig.Model(null, weights.toString()),
        c.data(),
        c.tokenizer(),
        c.sequenceLength(),
        c.batchTokens(),
        c.mesh(),
        c.optimizer(),
        c.schedule(),
        c.steps(),
        c.checkpoint(),
        c.evaluation(),
        c.network());
  }

  private static double loss(Path volume, int line) throws IOException {
    String text = Files.readAllLines(volume.resolve("history.jsonl")).get(line);
    return new ObjectMapper().readValue(text, History.Line.class).loss();
  }

  private static void copy(Path from, Path to) throws IOException {
    try (Stream<Path> entries = Files.walk(from)) {
      for (Path entry : entries.toList()) {
        Files.copy(entry, to.resolve(from.relativize(entry).toString()));
      }
    }
  }

  /** Starts the job again, which goes on to the end, and compares it with the undisturbed run. */
  private void finish(RunConfig config) throws Exception {
    try (Gang gang = Gang.start(folder, config)) {
      assertThat(gang.exits(LONG)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
      assertThat(gang.output(0)).contains("resuming after step").doesNotContain("now and was");
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
