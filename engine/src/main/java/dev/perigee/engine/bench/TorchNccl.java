package dev.perigee.engine.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.perigee.engine.bench.GangWork.Collective;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * PyTorch's own collectives over NCCL, by the script {@code nccl_baselines.py}.
 *
 * @param version of PyTorch and NCCL, empty when there is nothing
 * @param timed what was measured
 * @param absent why nothing was, empty when something was
 */
record TorchNccl(String version, List<Timed> timed, String absent) {
  /** The slowest rank's median of one collective in one size. */
  record Timed(String name, long elements, double seconds) {}

  private static TorchNccl none(String why) {
    return new TorchNccl("", List.of(), why);
  }

  /** The time of a collective. */
  static Optional<Timed> of(List<Timed> timed, Collective ours) {
    return timed.stream()
        .filter(t -> t.name.equals(ours.name()) && t.elements == ours.elements())
        .findFirst();
  }

  /** Measures the sizes that {@code ours} has; reports why not where that cannot be. */
  static TorchNccl run(GangShape shape, List<Collective> ours)
      throws IOException, InterruptedException {
    if (shape.gpus() < 2) {
      return none("NCCL needs a GPU for each rank, and this run has " + shape.gpus());
    }
    Path script = Files.createTempFile("nccl_baselines", ".py");
    try (InputStream in = TorchNccl.class.getResourceAsStream("nccl_baselines.py")) {
      Files.copy(in, script, StandardCopyOption.REPLACE_EXISTING);
      List<String> command = new ArrayList<>();
      command.addAll(List.of("python3", script.toString(), "" + shape.mesh().world()));
      command.add("" + shape.repeats());
      ours.stream()
          .map(Collective::elements)
          .distinct()
          .filter(shape.sizes()::contains)
          .forEach(n -> command.add("" + n));
      ProcessBuilder builder = new ProcessBuilder(command);
      builder.environment().putAll(GangLauncher.environment());
      Process process = builder.redirectError(ProcessBuilder.Redirect.INHERIT).start();
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      int code = process.waitFor();
      return code == 0 ? parse(said) : none("python3 with PyTorch ended with code " + code);
    } catch (IOException e) {
      return none("python3 with PyTorch does not run here: " + e.getMessage());
    } finally {
      Files.deleteIfExists(script);
    }
  }

  /** What the script prints. */
  static TorchNccl parse(String said) throws IOException {
    JsonMapper json = new JsonMapper();
    String version = "";
    List<Timed> timed = new ArrayList<>();
    for (String line : said.lines().toList()) {
      JsonNode node = json.readTree(line);
      if (node.has("torch")) {
        version =
            "PyTorch %s, NCCL %s".formatted(node.get("torch").asText(), node.get("nccl").asText());
      } else {
        timed.add(
            new Timed(
                node.get("name").asText(),
                node.get("elements").asLong(),
                node.get("seconds").asDouble()));
      }
    }
    return new TorchNccl(version, timed, "");
  }
}
