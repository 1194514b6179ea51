package dev.perigee.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The command as a process of its own, started as the script starts it. */
final class PerigeeProcess {
  private final Process process;
  private final Path output;

  private PerigeeProcess(Process process, Path output) {
    this.process = process;
    this.output = output;
  }

  static PerigeeProcess start(Path output, String... arguments) throws IOException {
    return startWith(List.of(), output, arguments);
  }

  /** With further options for its JVM. */
  static PerigeeProcess startWith(List<String> jvmOptions, Path output, String... arguments)
      throws IOException {
    List<String> command = new ArrayList<>();
    if (System.getProperty("os.name").equals("Linux")) {
      // What runs in the background ignores Ctrl-C, and so would this process.
      command.addAll(List.of("env", "--default-signal=INT"));
    }
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(jvmOptions);
    command.addAll(
        List.of(
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dsun.net.httpserver.nodelay=true",
            "-Dperigee.home=" + Checkout.root(),
            "-cp",
            System.getProperty("java.class.path"),
            "dev.perigee.cli.Perigee"));
    command.addAll(List.of(arguments));
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(output.toFile())
            .start();
    return new PerigeeProcess(process, output);
  }

  Process process() {
    return process;
  }

  /** What it has printed so far. */
  String said() throws IOException {
    return Files.readString(output, StandardCharsets.UTF_8);
  }

  /** Ctrl-C. */
  void interrupt() throws IOException, InterruptedException {
    new ProcessBuilder("kill", "-INT", Long.toString(process.pid())).start().waitFor();
  }
}
