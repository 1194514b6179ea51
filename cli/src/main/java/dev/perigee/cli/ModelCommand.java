package dev.perigee.cli;

import dev.perigee.engine.check.CheckRow;
import dev.perigee.engine.check.ModelCheck;
import dev.perigee.engine.check.ModelLogits;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code ./perigee model}: what one can do with a model in a folder. */
@Command(
    name = "model",
    description = "Compare and query a model in Hugging Face layout.",
    mixinStandardHelpOptions = true)
final class ModelCommand implements Runnable {
  @Spec private CommandSpec spec;

  @Override
  public void run() {
    throw new ParameterException(spec.commandLine(), "model: say check or logits");
  }

  @Command(
      name = "check",
      description =
          "Compare logits, loss, gradients and greedy tokens with those that another implementation"
              + " left in the folder. Exit code 1 when one is out of tolerance.",
      mixinStandardHelpOptions = true)
  int check(
      @Parameters(paramLabel = "DIR", description = "The checkpoint with io.safetensors, …")
          Path folder)
      throws IOException {
    requireFolder(folder);
    PrintWriter out = Perigee.out();
    List<CheckRow> rows = ModelCheck.run(folder);
    rows.forEach(out::println);
    return rows.stream().allMatch(CheckRow::passes) ? 0 : 1;
  }

  @Command(
      name = "logits",
      description = "Write the logits [B, T, V] of token ids [B, T].",
      mixinStandardHelpOptions = true)
  int logits(
      @Option(names = "--model", required = true, paramLabel = "DIR", description = "The model.")
          Path folder,
      @Option(
              names = "--ids",
              required = true,
              paramLabel = "FILE",
              description = "Safetensors with input_ids, I64 [B, T].")
          Path ids,
      @Option(
              names = "--out",
              required = true,
              paramLabel = "FILE",
              description = "Gets logits, F32 [B, T, V].")
          Path out)
      throws IOException {
    requireFolder(folder);
    int[] shape = ModelLogits.write(folder, ids, out);
    Perigee.out().println("wrote logits " + Arrays.toString(shape) + " to " + out);
    return 0;
  }

  private void requireFolder(Path folder) {
    if (!Files.isDirectory(folder)) {
      throw new ParameterException(
          spec.commandLine(), folder + " is not a folder; expected a model in Hugging Face layout");
    }
  }
}
