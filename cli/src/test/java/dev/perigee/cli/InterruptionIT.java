package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** However the command ends, its pods end with it, and the job goes on where it was saved. */
class InterruptionIT {
  private static final int STEPS = 400;

  @TempDir Path folder;
  private Path manifest;
  private Path checkpoints;

  @BeforeEach
  void writeManifest() throws IOException {
    checkpoints = Files.createDirectories(folder.resolve("checkpoints"));
    manifest =
        Files.writeString(folder.resolve("m.yaml"), TinyJob.manifest("tiny", STEPS, checkpoints));
  }

  private PerigeeProcess run() throws IOException {
    return PerigeeProcess.start(
        folder.resolve("output"),
        "run",
        manifest.toString(),
        "--runs",
        folder.resolve("runs").toString(),
        "--state",
        folder.resolve("state").toString());
  }

  private List<String> saved() throws IOException {
    Path job = checkpoints.resolve("tiny");
    if (!Files.isDirectory(job)) {
      return List.of();
    }
    try (var entries = Files.list(job)) {
      return entries
          .map(p -> p.getFileName().toString())
          .filter(n -> n.matches("step-\\d+"))
          .sorted()
          .toList();
    }
  }

  private void awaitCheckpoint(PerigeeProcess perigee) {
    Awaitility.await()
        .atMost(Duration.ofSeconds(90))
        .until(() -> !saved().isEmpty() || !perigee.process().isAlive());
  }

  @Test
  void ctrlCSavesTheJobAndTheSameCommandGoesOnFromThere() throws Exception {
    PerigeeProcess first = run();
    awaitCheckpoint(first);
    List<ProcessHandle> pods = first.process().descendants().toList();

    first.interrupt();

    assertThat(first.process().waitFor(60, TimeUnit.SECONDS)).as(first.said()).isTrue();
    assertThat(first.process().exitValue()).as(first.said()).isEqualTo(130);
    assertThat(pods).isNotEmpty();
    awaitEnd(pods);
    int step = Integer.parseInt(saved().getLast().substring("step-".length()));
    assertThat(step).isBetween(20, STEPS - 1);
    PerigeeProcess second = run();
    assertThat(second.process().waitFor(120, TimeUnit.SECONDS)).as(second.said()).isTrue();
    assertThat(second.process().exitValue()).as(second.said()).isZero();
    assertThat(second.said()).contains("tiny: Complete").contains("step " + STEPS + "/" + STEPS);
  }

  @Test
  void noPodOutlivesACommandThatIsKilled() throws Exception {
    PerigeeProcess perigee = run();
    awaitCheckpoint(perigee);
    List<ProcessHandle> pods = perigee.process().descendants().toList();

    perigee.process().destroyForcibly();

    assertThat(pods).isNotEmpty();
    awaitEnd(pods);
  }

  private static void awaitEnd(List<ProcessHandle> pods) {
    Awaitility.await()
        .atMost(Duration.ofSeconds(10))
        .until(() -> pods.stream().noneMatch(ProcessHandle::isAlive));
  }
}
