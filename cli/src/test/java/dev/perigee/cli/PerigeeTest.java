package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.cli.cluster.node.FolderLocks;
import dev.perigee.engine.checkpoint.HfConfig;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.checkpoint.SafetensorsWriter;
import dev.perigee.engine.cuda.driver.Cuda;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.IntSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.api.parallel.ResourceLock;
import org.junit.jupiter.api.parallel.Resources;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** What the command says, and with which exit code. */
@ResourceLock(Resources.SYSTEM_ERR)
class PerigeeTest {
  @TempDir Path folder;

  private record Result(int code, String out, String err) {}

  private static Result perigee(String... args) {
    return said(() -> Perigee.execute(args));
  }

  private static Result said(IntSupplier command) {
    PrintStream out = System.out;
    PrintStream err = System.err;
    ByteArrayOutputStream said = new ByteArrayOutputStream();
    ByteArrayOutputStream complained = new ByteArrayOutputStream();
    System.setOut(new PrintStream(said, true, StandardCharsets.UTF_8));
    System.setErr(new PrintStream(complained, true, StandardCharsets.UTF_8));
    try {
      int code = command.getAsInt();
      return new Result(
          code, said.toString(StandardCharsets.UTF_8), complained.toString(StandardCharsets.UTF_8));
    } finally {
      System.setOut(out);
      System.setErr(err);
    }
  }

  @Command(name = "unlucky")
  private static final class Unlucky implements Callable<Integer> {
    private final IOException thrown;

    Unlucky(IOException thrown) {
      this.thrown = thrown;
    }

    @Override
    public Integer call() throws IOException {
      throw thrown;
    }
  }

  /** The exceptions of the file system have the file's name for a message, and nothing else. */
  @Test
  void aFileThatCannotBeHadIsSaidWithTheReason() {
    Map<IOException, String> lines =
        Map.of(
            new NoSuchFileException("a"), "a does not exist",
            new AccessDeniedException("a"), "a: permission denied",
            new NotDirectoryException("a"), "a is not a folder",
            new FileAlreadyExistsException("a"), "a is there already, and is no folder",
            new FileSystemException("a", null, "No space left"), "a: No space left");

    lines.forEach(
        (thrown, line) -> {
          Result result = said(() -> Perigee.execute(new CommandLine(new Unlucky(thrown))));
          assertThat(result).isEqualTo(new Result(1, "", "perigee: " + line + "\n"));
        });
  }

  @Command(name = "broken")
  private static final class Broken implements Runnable {
    @Override
    public void run() {
      throw new NoClassDefFoundError("dev/perigee/Gone");
    }
  }

  @Test
  void anErrorOfTheVirtualMachineIsALineAndAnExitCode() {
    Result result = said(() -> Perigee.execute(new CommandLine(new Broken())));

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err())
        .startsWith("perigee: java.lang.NoClassDefFoundError: dev/perigee/Gone")
        .contains("a defect of Perigee; details in ");
  }

  @Test
  void saysItsVersion() {
    Result result = perigee("version");

    assertThat(result.code()).isZero();
    assertThat(result.out()).startsWith("perigee ").contains("java 25");
  }

  @Test
  void everyCommandSaysTheVersionAndExplainsItself() {
    for (String command :
        List.of("run", "up", "plan", "model", "model check", "bench gpu", "version")) {
      String[] words = command.split(" ", -1);
      String[] version = Arrays.copyOf(words, words.length + 1);
      version[words.length] = "-V";
      assertThat(perigee(version).out()).as(command).startsWith("perigee ");
      version[words.length] = "--help";
      assertThat(perigee(version).out()).as(command).startsWith("Usage: perigee " + command);
    }
  }

  @Test
  void aPortThatDoesNotExistIsAUsageError() {
    for (String command : List.of("run", "up")) {
      String[] arguments = {
        command, "--port", "99999", "--state", folder.toString(), "--runs", folder.toString()
      };
      if (command.equals("run")) {
        arguments = Arrays.copyOf(arguments, arguments.length + 1);
        arguments[arguments.length - 1] =
            Checkout.root().resolve("examples/quickstart.yaml").toString();
      }
      Result result = perigee(arguments);

      assertThat(result.code()).isEqualTo(2);
      assertThat(result.err())
          .isEqualTo("perigee: --port: 99999; expected 1 to 65535, or 0 for any free one\n");
    }
  }

  @Test
  void aTimeoutIsAtLeastASecond() {
    Path example = Checkout.root().resolve("examples/quickstart.yaml");
    Result result = perigee("run", "--timeout", "-5", example.toString());

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).isEqualTo("perigee: --timeout: -5; expected 1 second or more\n");
  }

  @Test
  void aRefusedManifestLeavesNoLogsToLookAt() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("old.yaml"),
            "{apiVersion: perigee.dev/v0, kind: PretrainJob, metadata: {name: a}}");

    Result result = perigee("run", "--runs", folder.resolve("runs").toString(), file.toString());

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err()).contains("no matches for kind \"PretrainJob\" in version");
    assertThat(result.out()).isEmpty();
  }

  @Test
  void aTraceIsOfOneJob() {
    Path example = Checkout.root().resolve("examples/quickstart.yaml");
    Path other = Checkout.root().resolve("examples/pipeline.yaml");
    Path trace = folder.resolve("trace.json");

    Result result =
        perigee("plan", "--trace", trace.toString(), example.toString(), other.toString());

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err())
        .startsWith("perigee: --trace: a trace is of one job")
        .contains("have 2");
    assertThat(trace).doesNotExist();
  }

  @Test
  void aBenchmarksPageAndTextAreLookedAtBeforeAnythingIsMeasured() throws IOException {
    Path mine = Files.writeString(folder.resolve("mine.md"), "# Mine\n");
    for (String bench : List.of("cpu", "gpu", "overlap")) {
      Result result = perigee("bench", bench, "--out", mine.toString());
      assertThat(result.code()).isEqualTo(2);
      assertThat(result.err())
          .startsWith("perigee: --out: " + mine + " has text that would be lost");
    }
    assertThat(mine).content().isEqualTo("# Mine\n");

    Result nowhere =
        perigee("bench", "gpus", "--gpus", "0", "--out", folder.resolve("a/b.md").toString());
    assertThat(nowhere.code()).isEqualTo(2);
    assertThat(nowhere.err()).startsWith("perigee: --out: there is no folder ");

    Result text = perigee("bench", "train", "--text", folder.resolve("no.txt").toString());
    assertThat(text.code()).isEqualTo(2);
    assertThat(text.err()).startsWith("perigee: --text: there is no ");

    Result steps = perigee("bench", "train", "--text", mine.toString(), "--steps", "0");
    assertThat(steps.code()).isEqualTo(2);
    assertThat(steps.err()).contains("--steps: 0 is not at least 1");
  }

  /** As the script starts it: through a second JVM, whose line and exit code come through. */
  @Test
  void withoutAGpuItsBenchmarksAreOneLine() throws Exception {
    assumeTrue(Cuda.whyAbsent().isPresent(), "skipped: this machine has a GPU");
    Path text = Files.writeString(folder.resolve("a.txt"), "text");
    Path page = folder.resolve("page.md");
    Map<String, List<String>> benches =
        Map.of(
            "bench gpu: no GPU: ", List.of("bench", "gpu", "--out", page.toString()),
            "bench train: no GPU: ",
                List.of("bench", "train", "--text", text.toString(), "--out", page.toString()),
            "bench gpus: --gpus 2, but this machine has 0 (no GPU: ",
                List.of("bench", "gpus", "--gpus", "2", "--out", page.toString()));
    for (Map.Entry<String, List<String>> bench : benches.entrySet()) {
      PerigeeProcess run =
          PerigeeProcess.start(folder.resolve("said"), bench.getValue().toArray(String[]::new));
      int code = run.process().waitFor();

      assertThat(run.said()).startsWith(bench.getKey()).hasLineCount(1);
      assertThat(code).isEqualTo(1);
    }
    assertThat(page).doesNotExist();
  }

  @Test
  void anUnknownCommandIsAUsageError() {
    Result result = perigee("fly");

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).startsWith("perigee: Unmatched argument at index 0: 'fly'\n");
  }

  @Test
  void runWithoutFilesIsAUsageError() {
    Result result = perigee("run");

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).startsWith("perigee: Missing required parameter: 'FILE'\n");
  }

  @Test
  void aManifestWithoutAJobIsRefused() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve("cm.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}");

    Result result = perigee("run", file.toString());

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).contains("no PretrainJob in ");
  }

  @Test
  void whatTheCommandDoesNotUnderstandHasOneExitCode() throws IOException {
    Path noYaml = Files.writeString(folder.resolve("no.yaml"), "{");
    Path empty = Files.writeString(folder.resolve("empty.yaml"), "");
    Path noKind = Files.writeString(folder.resolve("kind.yaml"), "{a: 1}");
    Path example = Checkout.root().resolve("examples/quickstart.yaml");
    for (String command : List.of("run", "plan")) {
      for (Path file : List.of(noYaml, empty, noKind, folder.resolve("gone.yaml"))) {
        assertThat(perigee(command, file.toString()).code())
            .as("%s %s", command, file)
            .isEqualTo(2);
      }
    }
    for (Path data : List.of(folder.resolve("gone.txt"), empty)) { // the second has no source
      Result result = perigee("run", "--data", data.toString(), example.toString());
      assertThat(result.code()).as(result.err()).isEqualTo(2);
      assertThat(result.err()).startsWith("perigee: --data: ").hasLineCount(1);
    }
    assertThat(perigee("--help").out()).contains("Exit codes:").contains("not understood");
  }

  @Test
  void aPortInUseIsOneClearLine() throws IOException {
    try (ServerSocket taken =
        new ServerSocket(0, 1, InetAddress.getByAddress(new byte[] {127, 0, 0, 1}))) {
      Result result =
          perigee(
              "up",
              "--port",
              Integer.toString(taken.getLocalPort()),
              "--state",
              folder.resolve("state").toString(),
              "--runs",
              folder.resolve("runs").toString());

      assertThat(result.code()).isEqualTo(1);
      assertThat(result.err())
          .isEqualTo(
              "perigee: port "
                  + taken.getLocalPort()
                  + " of 127.0.0.1 is in use; end what listens there, or choose another with"
                  + " --port (0 takes any free one)\n");
    }
  }

  @Test
  void aJobWhoseCheckpointsAnotherCommandWritesIsRefused() throws IOException {
    Path example = Checkout.root().resolve("examples/quickstart.yaml");
    Path claim = Files.createDirectories(folder.resolve("runs/default/quickstart"));
    try (FolderLocks other = new FolderLocks()) {
      other.take(claim, "");

      Result result =
          perigee("run", "--runs", folder.resolve("runs").toString(), example.toString());

      assertThat(result.code()).isEqualTo(1);
      assertThat(result.err())
          .startsWith("perigee: " + claim.toRealPath() + ": in use by ")
          .endsWith("or write elsewhere with --runs DIR\n")
          .hasLineCount(1);
      assertThat(result.out()).isEmpty();
    }
  }

  @Test
  void aStateFolderOfAnotherClusterIsRefused() throws IOException {
    try (FolderLocks other = new FolderLocks()) {
      other.take(folder, "");

      Result result = perigee("up", "--port", "0", "--state", folder.toString());

      assertThat(result.code()).isEqualTo(1);
      assertThat(result.err()).endsWith("or choose another with --state\n").hasLineCount(1);
    }
  }

  @Test
  void aStateFolderThatCannotBeMadeIsOneClearLine() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "");

    Result result = perigee("up", "--port", "0", "--state", file.resolve("state").toString());

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err())
        .startsWith("perigee: cannot write to the state folder ")
        .contains("choose another with --state")
        .hasLineCount(1);
  }

  @Test
  void weightsOfAnotherModelAreOneLineAndNoDefect() throws IOException {
    ModelConfig shape = ModelPresets.find("quickstart").orElseThrow();
    Files.writeString(folder.resolve(HfConfig.FILE), new HfConfig(shape, null, null).toJson());
    String last = "model.layers.%d.input_layernorm.weight".formatted(shape.numHiddenLayers() - 1);
    SafetensorsWriter.write(
        folder.resolve(Safetensors.SINGLE), Map.of(last, Tensor.zeros(3)), Map.of());

    Result result = perigee("model", "check", folder.toString());

    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err())
        .contains("is not a checkpoint of this model: model.embed_tokens.weight is missing")
        .doesNotContain("defect")
        .hasLineCount(1);
  }

  @Test
  void aModelFolderThatIsNotThereIsAUsageError() {
    Result result = perigee("model", "check", folder.resolve("none").toString());

    assertThat(result.code()).isEqualTo(2);
    assertThat(result.err()).contains("is not a folder");
  }
}
