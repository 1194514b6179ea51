package dev.perigee.cli;

import dev.perigee.engine.bench.BenchPage;
import dev.perigee.engine.bench.CpuBench;
import dev.perigee.engine.bench.GpuBench;
import dev.perigee.engine.bench.GpusBench;
import dev.perigee.engine.bench.OverlapBench;
import dev.perigee.engine.bench.TrainBench;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
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
    throw new ParameterException(spec.commandLine(), "bench: say cpu, gpu, gpus, train or overlap");
  }

  @Command(
      name = "cpu",
      description =
          "Measure the quickstart model's training step and its matrix products against the rate of"
              + " large products on this machine, in one run.",
      mixinStandardHelpOptions = true)
  int cpu(@Option(names = "--out", description = "Also write the page to this file.") Path out)
      throws IOException, InterruptedException {
    return program(CpuBench.class, out);
  }

  @Command(
      name = "gpu",
      description = "Measure the GPU's kernels beside PyTorch's on this machine, in one run.",
      mixinStandardHelpOptions = true)
  int gpu(@Option(names = "--out", description = "Also write the table to this file.") Path out)
      throws IOException, InterruptedException {
    return program(GpuBench.class, out);
  }

  @Command(
      name = "train",
      description =
          "Train four layers of Moonlight's geometry on this machine's GPU, and measure the step"
              + " beside PyTorch's, in one run.",
      mixinStandardHelpOptions = true)
  int train(
      @Option(
              names = "--text",
              required = true,
              description = "A .txt or .jsonl file or a folder of such to train on.")
          Path text,
      @Option(
              names = "--steps",
              defaultValue = "200",
              description = "Optimizer steps (default: ${DEFAULT-VALUE}).")
          int steps,
      @Option(
              names = "--out",
              defaultValue = "gpu-training.md",
              description = "The page's file (default: ${DEFAULT-VALUE}).")
          Path out)
      throws IOException, InterruptedException {
    if (steps < 1) {
      throw new ParameterException(spec.commandLine(), "--steps: " + steps + " is not at least 1");
    }
    if (!Files.exists(text)) {
      throw new CommandFailure(
          "--text: there is no " + text + "; expected a .txt or .jsonl file or a folder of such",
          2);
    }
    return program(
        TrainBench.class, out, text.toAbsolutePath().toString(), Integer.toString(steps));
  }

  @Command(
      name = "overlap",
      description =
          "Measure what it is worth to exchange experts' rows under the compute of another"
              + " micro-batch: four ranks in two pods over the loopback, with and without.",
      mixinStandardHelpOptions = true)
  int overlap(
      @Option(
              names = "--out",
              description = "Also write the page to this file, and a trace of each kind beside it.")
          Path out)
      throws IOException, InterruptedException {
    return program(OverlapBench.class, out);
  }

  @Command(
      name = "gpus",
      description =
          "Several GPUs of one host: collectives beside the CPU's results and PyTorch's NCCL, a"
              + " pipeline with shared experts beside one rank, a rank that is killed, a checkpoint"
              + " that goes on on fewer. With one GPU, or none, ranks share what there is.",
      mixinStandardHelpOptions = true)
  int gpus(
      @Option(
              names = "--gpus",
              required = true,
              description = "How many to use: 0 (the CPU), 1, 2, 4 or 8.")
          int gpus,
      @Option(
              names = "--out",
              description = "Also write the page to this file, and two traces beside it.")
          Path out)
      throws IOException, InterruptedException {
    return program(GpusBench.class, out, Integer.toString(gpus));
  }

  /** In a JVM of the trainer's kind: this one is tuned to start fast, not to compute fast. */
  private static int program(Class<?> main, Path out, String... first)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("@" + Perigee.home().resolve("trainer-image/src/main/jvm/trainer.jvmargs"));
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
    command.addAll(List.of(first));
    if (out != null) {
      try {
        BenchPage.check(out);
      } catch (IOException e) {
        throw new CommandFailure("--out: " + e.getMessage(), 2);
      }
      command.add(out.toAbsolutePath().toString());
    }
    return new ProcessBuilder(command).inheritIO().start().waitFor();
  }
}
