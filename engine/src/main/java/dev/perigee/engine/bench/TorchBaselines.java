package dev.perigee.engine.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.Optional;

/**
 * PyTorch in a process beside this one, which measures a case when it is told to: never both at the
 * same time. The script is the resource {@code gpu_baselines.py}.
 */
final class TorchBaselines implements AutoCloseable {
  private static final JsonMapper JSON = new JsonMapper();

  private final Process process;
  private final Writer requests;
  private final BufferedReader answers;
  private final Path script;
  private final String version;

  /**
   * What a case takes.
   *
   * @param ms times in milliseconds
   * @param memory bytes that it takes at its most, beside what it was given; results count
   * @param error against float32, where the first run of a case has one
   */
  @SuppressWarnings("ArrayRecordComponent") // handed over once, compared never
  record Measured(double[] ms, long memory, Optional<Double> error) {}

  private TorchBaselines() throws IOException {
    script = Files.createTempFile("gpu_baselines", ".py");
    try (InputStream in = TorchBaselines.class.getResourceAsStream("gpu_baselines.py")) {
      Files.copy(in, script, StandardCopyOption.REPLACE_EXISTING);
    }
    process =
        new ProcessBuilder("python3", script.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    requests = process.outputWriter(StandardCharsets.UTF_8);
    answers = process.inputReader(StandardCharsets.UTF_8);
    version = ask(Map.of("version", true)).path("torch").asText();
  }

  /** Starts PyTorch; empty, with the reason on standard error, when this machine has none. */
  static Optional<TorchBaselines> start() {
    try {
      return Optional.of(new TorchBaselines());
    } catch (IOException e) {
      System.err.println("no baselines: python3 with PyTorch does not run here: " + e.getMessage());
      return Optional.empty();
    }
  }

  /** PyTorch's version. */
  String version() {
    return version;
  }

  /** Lets go of the cases before, and prepares those of one function of the script. */
  void prepare(String group, Map<String, Object> sizes) throws IOException {
    ask(Map.of("prepare", group, "sizes", sizes));
  }

  /** Measures a case of the script. */
  Measured run(String name, int repeats) throws IOException {
    JsonNode answer = ask(Map.of("run", name, "repeats", repeats));
    JsonNode ms = answer.path("ms");
    double[] times = new double[ms.size()];
    for (int i = 0; i < times.length; i++) {
      times[i] = ms.get(i).asDouble();
    }
    return new Measured(
        times,
        answer.path("memory").asLong(),
        answer.path("error").isNumber()
            ? Optional.of(answer.path("error").asDouble())
            : Optional.empty());
  }

  private JsonNode ask(Object request) throws IOException {
    requests.write(JSON.writeValueAsString(request) + "\n");
    requests.flush();
    String line = answers.readLine();
    if (line == null) {
      throw new IOException("the baselines' process ended; its error is above");
    }
    return JSON.readTree(line);
  }

  @Override
  public void close() throws IOException {
    requests.close(); // the script ends with its input
    Files.deleteIfExists(script);
  }
}
