package dev.perigee.cli.cluster;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The real kubectl of the machine, against an embedded cluster. */
final class Kubectl {
  private final Path kubeconfig;
  private final Path folder;

  /** What a command gave. */
  record Result(int code, String out, String err) {
    String all() {
      return out + err;
    }
  }

  Kubectl(Path kubeconfig, Path folder) {
    this.kubeconfig = kubeconfig;
    this.folder = folder;
  }

  /** Skips the test, with one line, when there is none. */
  static void assumeInstalled() {
    boolean installed = false;
    for (String place : System.getenv().getOrDefault("PATH", "").split(":", -1)) {
      installed |= Files.isExecutable(Path.of(place.isEmpty() ? "." : place, "kubectl"));
    }
    assumeTrue(installed, "skipped: no kubectl on the PATH");
  }

  /** Starts a command and does not wait for it. */
  Process start(String... arguments) throws IOException {
    List<String> command = new ArrayList<>(List.of("kubectl", "--cache-dir=" + folder));
    command.addAll(List.of(arguments));
    ProcessBuilder builder = new ProcessBuilder(command).directory(folder.toFile());
    builder.environment().put("KUBECONFIG", kubeconfig.toString());
    return builder.start();
  }

  /** Runs a command to its end. */
  Result run(String... arguments) throws IOException, InterruptedException {
    return finish(start(arguments), "");
  }

  /** Runs a command that reads a manifest. */
  Result with(String manifest, String... arguments) throws IOException, InterruptedException {
    return finish(start(arguments), manifest);
  }

  private static Result finish(Process process, String input)
      throws IOException, InterruptedException {
    StringBuilder err = new StringBuilder();
    Thread errors =
        Thread.ofVirtual()
            .start(
                () ->
                    process
                        .errorReader(StandardCharsets.UTF_8)
                        .lines()
                        .forEach(l -> err.append(l).append('\n')));
    try (var stdin = process.getOutputStream()) {
      stdin.write(input.getBytes(StandardCharsets.UTF_8));
    }
    String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    if (!process.waitFor(60, TimeUnit.SECONDS)) {
      process.destroyForcibly();
      throw new IOException("kubectl did not end within a minute");
    }
    errors.join();
    return new Result(process.exitValue(), out, err.toString());
  }
}
