package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** However the command ends, its pods end with it, and the job goes on where it was saved. */
class InterruptionIT {
  private static final int STEPS = 200;

  @TempDir Path folder;
  private Path manifest;
  private Path checkpoints;

  @BeforeEach
  void writeManifest() throws IOException {
    checkpoints = Files.createDirectories(folder.resolve("checkpoints"));
    manifest =
        Files.writeString(folder.resolve("m.yaml"), TinyJob.manifest("tiny", STEPS, checkpoints));
  }

  private PerigeeProcess run(String... more) throws IOException {
    List<String> arguments =
        new ArrayList<>(
            List.of(
                "run",
                manifest.toString(),
                "--runs",
                folder.resolve("runs").toString(),
                "--state",
                folder.resolve("state").toString()));
    arguments.addAll(List.of(more));
    return PerigeeProcess.start(folder.resolve("output"), arguments.toArray(String[]::new));
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
  void aCommandThatGivesUpSavesTheJobToo() throws Exception {
    Files.writeString(manifest, TinyJob.manifest("tiny", 1_000_000, checkpoints));

    PerigeeProcess perigee = run("--timeout", "20");

    assertThat(perigee.process().waitFor(90, TimeUnit.SECONDS)).as(perigee.said()).isTrue();
    assertThat(perigee.process().exitValue()).as(perigee.said()).isEqualTo(1);
    assertThat(perigee.said()).contains("giving up after 20 s (--timeout); the jobs save");
    Path history = checkpoints.resolve("tiny/history.jsonl");
    assumeTrue(
        Files.exists(history) && Files.size(history) > 0, "too slow a machine to take steps");
    assertThat(saved().getLast())
        .isEqualTo("step-%08d".formatted(Files.readAllLines(history).size()));
  }

  /** Many a Ctrl-C comes before anything has begun, and each would leave a folder behind. */
  @Test
  void ctrlCLeavesNoTemporaryFolder() throws Exception {
    Path temporary = Files.createDirectories(folder.resolve("temporary"));
    PerigeeProcess perigee =
        PerigeeProcess.startWith(
            List.of("-Djava.io.tmpdir=" + temporary),
            folder.resolve("output"),
            "run",
            manifest.toString(),
            "--runs",
            folder.resolve("runs").toString());
    Awaitility.await()
        .atMost(Duration.ofSeconds(60))
        .until(() -> !perigeeFolders(temporary).isEmpty());

    perigee.interrupt();

    assertThat(perigee.process().waitFor(60, TimeUnit.SECONDS)).as(perigee.said()).isTrue();
    assertThat(perigeeFolders(temporary)).as(perigee.said()).isEmpty();
  }

  private static List<Path> perigeeFolders(Path temporary) throws IOException {
    try (var entries = Files.list(temporary)) {
      return entries.filter(p -> p.getFileName().toString().startsWith("perigee-")).toList();
    }
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
