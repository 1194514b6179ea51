package dev.perigee.cli;

import dev.perigee.engine.bench.CpuBench;
import dev.perigee.run.ModelPresets;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** {@code ./perigee bench}: how fast this machine trains. */
@Command(
    name = "bench",
    description = "Measure how fast this machine trains.",
    mixinStandardHelpOptions = true)
final class BenchCommand implements Runnable {
  @Spec private CommandSpec spec;

  @Override
  public void run() {
    throw new ParameterException(spec.commandLine(), "bench: say cpu");
  }

  @Command(
      name = "cpu",
      description =
          "Measure the quickstart model's training step and its matrix products against the rate of"
              + " large products on this machine, in one run.",
      mixinStandardHelpOptions = true)
  int cpu() throws IOException, InterruptedException {
    // In a JVM of the trainer's kind: this one is tuned to start fast, not to compute fast.
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("@" + Perigee.home().resolve("trainer-image/src/main/jvm/trainer.jvmargs"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), Program.class.getName()));
    return new ProcessBuilder(command).inheritIO().start().waitFor();
  }

  /** The benchmark as a program. */
  static final class Program {
    private Program() {}

    public static void main(String[] args) throws Exception {
      CpuBench.Options options =
          new CpuBench.Options(
              "quickstart",
              ModelPresets.find("quickstart").orElseThrow(),
              Runtime.getRuntime().availableProcessors() >= 4 ? 4 : 2,
              128,
              8192,
              3,
              10);
      Perigee.out().println(CpuBench.run(options).toMarkdown());
    }
  }
}
