package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.checkpoint.HfConfig;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.checkpoint.SafetensorsWriter;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
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
