package dev.perigee.cli;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.cli.cluster.api.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The course of a job, one point a step, as the trainer writes it into {@code history.jsonl}.
 *
 * @param steps the steps
 * @param losses mean cross-entropy of each, in nats
 * @param maxQkLogits largest attention logit of each
 */
record History(List<Double> steps, List<Double> losses, List<Double> maxQkLogits) {
  /** Name of the file beside the checkpoints. */
  static final String FILE = "history.jsonl";

  History {
    steps = List.copyOf(steps);
    losses = List.copyOf(losses);
    maxQkLogits = List.copyOf(maxQkLogits);
  }

  /** Reads a history; a last line that is cut short is left out. */
  static History read(Path file) throws IOException {
    List<Double> steps = new ArrayList<>();
    List<Double> losses = new ArrayList<>();
    List<Double> logits = new ArrayList<>();
    for (String line : Files.readAllLines(file)) {
      JsonNode point;
      try {
        point = Json.parse(line.getBytes(StandardCharsets.UTF_8), false);
      } catch (IOException e) {
        continue;
      }
      if (point.path("step").isNumber()
          && point.path("loss").isNumber()
          && point.path("maxQkLogit").isNumber()) {
        steps.add(point.get("step").asDouble());
        losses.add(point.get("loss").asDouble());
        logits.add(point.get("maxQkLogit").asDouble());
      }
    }
    return new History(steps, losses, logits);
  }
}
