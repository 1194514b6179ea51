package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.engine.checkpoint.CheckpointStore;
import dev.perigee.engine.checkpoint.StorageException;
import dev.perigee.engine.cuda.driver.Cuda;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Every bad input ends a real process with one line on standard error and its exit code. */
class BadInputTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Duration PATIENCE = Duration.ofMinutes(1);

  @TempDir Path folder;

  private RunConfig config(long steps) {
    return Gang.config(folder.resolve("volume"), Mesh.SINGLE, steps);
  }

  @Test
  void anUnknownFieldIsNamed() throws Exception {
    ends(
        edited(run -> run.withObject("/schedule").put("warmUpSteps", 3)).startPod(0),
        ExitCode.BAD_CONFIG,
        "run.json: schedule.warmUpSteps: unknown field; expected one of decaySteps");
  }

  @Test
  void aMeshThatDoesNotDivideSaysWhatWould() throws Exception {
    ends(
        edited(run -> run.withObject("/mesh").put("data", 4).put("expert", 3)).startPod(0),
        ExitCode.BAD_CONFIG,
        "parallelism.expert: 3 does not divide data 4");
  }

  @Test
  void aMissingDataFileIsNamed() throws Exception {
    ends(text("none.jsonl"), ExitCode.BAD_CONFIG, "data source sums: there is no file or folder");
  }

  @Test
  void anEmptyDataFileIsNamed() throws Exception {
    Files.writeString(folder.resolve("book.txt"), "");
    ends(text("book.txt"), ExitCode.BAD_CONFIG, "book.txt is empty");
  }

  @Test
  void aLineThatIsNotJsonIsNamed() throws Exception {
    Files.writeString(folder.resolve("book.jsonl"), "{\"text\": \"Call me\"}\nIshmael\n");
    ends(text("book.jsonl"), ExitCode.CORRUPT_DATA, "book.jsonl line 2: not JSON");
  }

  @Test
  void aTextThatIsNotUtf8IsNamed() throws Exception {
    Files.write(folder.resolve("book.txt"), "caf\u00e9".getBytes(StandardCharsets.ISO_8859_1));
    ends(text("book.txt"), ExitCode.CORRUPT_DATA, "book.txt line 1: not UTF-8");
  }

  @Test
  void aPortInUseIsNamed() throws Exception {
    try (Gang gang = Gang.prepare(folder, config(1));
        ServerSocket other = new ServerSocket()) {
      other.bind(new InetSocketAddress(InetAddress.getByName(gang.address(0)), Gang.HTTP));
      gang.startPod(0);
      ends(gang, ExitCode.BAD_CONFIG, "network.httpPort: cannot listen on " + gang.address(0));
    }
  }

  @Test
  void aGpuThatIsNotThereIsSaidInOneLine() throws Exception {
    assumeTrue(Cuda.whyAbsent().isPresent(), "this machine has a GPU");
    RunConfig onGpu =
        config(1)
            .with(
                new RunConfig.Compute(
                    RunConfig.Compute.Backend.cuda, RunConfig.Compute.Precision.bf16));
    ends(
        Gang.start(folder, onGpu),
        ExitCode.BAD_CONFIG,
        "compute.backend: cuda, but " + Cuda.whyAbsent().orElseThrow());
  }

  @Test
  void aPeerThatNeverComesIsLostWhenPatienceEnds() throws Exception {
    RunConfig config = Gang.config(folder.resolve("volume"), new Mesh(1, 4, 4, 2), 1);
    Gang gang = Gang.prepare(folder, impatient(config)).startPod(0);
    ends(gang, ExitCode.LOST_PEER, gang.address(1));
  }

  private static RunConfig impatient(RunConfig c) {
    return new RunConfig(
        c.job(),
        c.seed(),
        c.model(),
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
        new RunConfig.Network(Gang.HTTP, Gang.PEER, 1, 5));
  }

  @Test
  void tooLittleMemoryIsSaid() throws Exception {
    Gang gang = edited(run -> run.withObject("/model/config").put("intermediateSize", 400_000));
    gang.startPod(0, "-Xmx48m");
    ends(gang, ExitCode.OUT_OF_MEMORY, "out of memory");
  }

  @Test
  void aCheckpointOfAnotherShapeIsNamedByItsTensor() throws Exception {
    train(1);
    Gang gang = edited(run -> run.withObject("/model/config").put("vHeadDim", 12));
    gang.startPod(0);
    ends(
        gang,
        ExitCode.BAD_CONFIG,
        "self_attn.o_proj.weight has shape [32, 16], the model's is [32, 24]");
  }

  @Test
  void fewerStepsThanACheckpointHasDoneAreRefused() throws Exception {
    train(2);
    ends(Gang.start(folder, config(1)), ExitCode.BAD_CONFIG, "steps: 1 are fewer than the 2 that");
  }

  @Test
  void checkpointsThatAreAllDamagedAreCorruptData() throws Exception {
    train(1);
    Files.writeString(folder.resolve("volume/step-00000001/config.json"), "{}");
    ends(Gang.start(folder, config(2)), ExitCode.CORRUPT_DATA, "every checkpoint is damaged");
  }

  @Test
  void aDirectoryThatCannotBeMadeIsAMatterOfStorage() throws Exception {
    Files.writeString(folder.resolve("volume"), "a file in its place");
    ends(Gang.start(folder, config(1)), ExitCode.STORAGE, "cannot write to " + folder);
  }

  /** A limit on the size of files stands in for a full disk: both fail a write in the middle. */
  @Test
  @EnabledOnOs({OS.LINUX, OS.MAC})
  void aVolumeThatRefusesWritesLeavesTheCheckpointBefore() throws Exception {
    train(1);
    List<String> before = volume();
    Gang gang = Gang.prepare(folder, config(2));
    gang.startPodUnder(
        List.of("bash", "-c", "ulimit -f 48 && exec \"$@\"", "bash"), 0, "-XX:-UsePerfData");
    ends(gang, ExitCode.STORAGE, "cannot write checkpoint " + folder);
    assertThat(volume()).isEqualTo(before);
    train(2);
  }

  @Test
  void aFolderToStartFromThatIsNotThereIsNamed() throws Exception {
    ends(
        edited(
                run -> {
                  run.withObject("/model").put("from", folder.resolve("none").toString());
                  run.withObject("/model").remove("config");
                })
            .startPod(0),
        ExitCode.BAD_CONFIG,
        "model.from: there is no " + folder.resolve("none/config.json"));
  }

  @Test
  void aFolderToStartFromThatIsNotThereIsNamedWhenTheShapeIsKnownToo() throws Exception {
    ends(
        edited(run -> run.withObject("/model").put("from", folder.resolve("none").toString()))
            .startPod(0),
        ExitCode.BAD_CONFIG,
        "model.from: there is no " + folder.resolve("none"));
  }

  @Test
  void aFolderToStartFromWithoutWeightsIsNamed() throws Exception {
    train(1);
    Path step = folder.resolve("volume/step-00000001");
    Files.delete(step.resolve("model.safetensors"));
    ends(
        edited(
                run -> {
                  run.withObject("/model").put("from", step.toString()).remove("config");
                  run.withObject("/checkpoint")
                      .put("directory", folder.resolve("another").toString());
                })
            .startPod(0),
        ExitCode.BAD_CONFIG,
        "model.from: "
            + step
            + " holds neither model.safetensors nor model.safetensors.index.json");
  }

  @Test
  void aNameThatNoFileCanHaveIsNamed() throws Exception {
    ends(
        edited(
                run ->
                    ((ObjectNode) run.withArray("/data").get(0))
                        .put("path", folder + "/book\0.jsonl")
                        .remove("builtin"))
            .startPod(0),
        ExitCode.BAD_CONFIG,
        "book\ufffd.jsonl can be no file's name here");
  }

  @Test
  void numbersAndNamesAreTheSameInEveryLocale() throws Exception {
    try (Gang gang = Gang.prepare(folder, config(1))) {
      gang.startPod(0, "-Duser.language=ar", "-Duser.country=EG");
      assertThat(gang.exits(PATIENCE)).as(gang.output(0)).containsExactly(ExitCode.DONE.code());
      assertThat(volume()).contains("step-00000001");
      assertThat(gang.output(0))
          .containsPattern("step-00000001 \\(\\d+\\.\\d s\\)")
          .contains(" % of 8 held-out problems exact");
    }
  }

  @Test
  void aCheckpointThatIsNotTheOneThatWasMeantIsRefused() throws Exception {
    train(1);
    Path step = folder.resolve("volume/step-00000001");
    ends(
        edited(
                run -> {
                  run.withObject("/model").put("from", step.toString()).put("digest", "0123");
                  run.withObject("/checkpoint")
                      .put("directory", folder.resolve("another").toString());
                })
            .startPod(0),
        ExitCode.BAD_CONFIG,
        "has the manifest " + CheckpointStore.digest(step) + "; expected 0123");
  }

  @Test
  void aVolumeThatIsReadOnlyFailsBecauseNoRestartHelps() {
    Failure failure =
        Failure.of(
            new StorageException(
                "cannot write to /perigee/checkpoints/demo: x",
                new FileSystemException(
                    "/perigee/checkpoints/demo", null, "Read-only file system")));
    assertThat(failure.exitCode()).isEqualTo(ExitCode.BAD_CONFIG);
    assertThat(failure.message()).contains("a volume that can be written");
  }

  /** The folder may be there already: what is refused first is then the history. */
  @Test
  void aFileThatCannotBeWrittenOnAReadOnlyVolumeIsTheSame() {
    Failure failure =
        Failure.of(new FileSystemException("/c/history.jsonl", null, "Read-only file system"));
    assertThat(failure.exitCode()).isEqualTo(ExitCode.BAD_CONFIG);
    assertThat(failure.message())
        .contains("/c/history.jsonl: Read-only file system", "a volume that can be written");
  }

  @Test
  void aFolderThatCannotBeListedIsAMatterOfStorage() {
    Failure failure =
        Failure.of(
            new UncheckedIOException(
                new FileSystemException("/perigee/data/text", null, "Stale file handle")));
    assertThat(failure.exitCode()).isEqualTo(ExitCode.STORAGE);
    assertThat(failure.message()).contains("/perigee/data/text: Stale file handle");
    assertThat(failure.bug()).isFalse();
  }

  private void train(long steps) throws Exception {
    try (Gang gang = Gang.start(folder, config(steps))) {
      assertThat(gang.exits(PATIENCE)).as(gang.output(0)).containsExactly(ExitCode.DONE.code());
    }
  }

  private List<String> volume() throws IOException {
    try (Stream<Path> entries = Files.list(folder.resolve("volume"))) {
      return entries.map(p -> p.getFileName().toString()).sorted().toList();
    }
  }

  private Gang text(String file) throws Exception {
    return edited(
            run ->
                ((ObjectNode) run.withArray("/data").get(0))
                    .put("path", folder.resolve(file).toString())
                    .remove("builtin"))
        .startPod(0);
  }

  /** A job whose {@code run.json} was edited; not yet started. */
  private Gang edited(Consumer<ObjectNode> edit) throws Exception {
    Gang gang = Gang.prepare(folder, config(2));
    Path file = gang.root(0).resolve("run/run.json");
    ObjectNode run = (ObjectNode) JSON.readTree(file.toFile());
    edit.accept(run);
    JSON.writeValue(file.toFile(), run);
    return gang;
  }

  private static void ends(Gang gang, ExitCode exitCode, String message) throws Exception {
    try (gang) {
      assertThat(gang.exits(PATIENCE)).as(gang.output(0)).containsExactly(exitCode.code());
      List<String> complaints =
          gang.output(0).lines().filter(line -> line.startsWith("perigee-trainer: ")).toList();
      assertThat(complaints).as(gang.output(0)).hasSize(1);
      assertThat(complaints.getFirst()).contains(message);
      // What the operator shows: it reads no logs.
      assertThat(Files.readString(gang.root(0).resolve(RunFiles.TERMINATION_LOG)))
          .contains(JSON.writeValueAsString(message).replace("\"", ""));
      assertThat(gang.output(0)).doesNotContain("Exception", "\tat ");
    }
  }
}
