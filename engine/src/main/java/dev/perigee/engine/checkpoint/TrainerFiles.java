package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;

/** The part of a checkpoint that is not Hugging Face's: folder {@code trainer/}. */
final class TrainerFiles {
  static final String FOLDER = "trainer";
  static final String STATE = "trainer/state.json";

  static final ObjectMapper JSON = new ObjectMapper();

  private TrainerFiles() {}

  /** The file for one rank's optimizer state. */
  static String optimizer(int rank, int ranks) {
    return String.format(
        Locale.ROOT, "trainer/optimizer-%05d-of-%05d.safetensors", rank + 1, ranks);
  }

  static TrainerState readState(Path folder) throws IOException {
    Path file = folder.resolve(STATE);
    try {
      return JSON.readValue(Files.readAllBytes(file), TrainerState.class);
    } catch (JsonProcessingException e) {
      throw new CheckpointFormatException(file, e.getOriginalMessage(), e);
    }
  }

  /** Fills in each tensor from whichever rank's file has it. */
  static void readOptimizer(Path folder, Map<String, Tensor> state) throws IOException {
    List<Safetensors> parts = new ArrayList<>();
    try (Stream<Path> files = Files.list(folder.resolve(FOLDER))) {
      for (Path file : files.filter(f -> f.toString().endsWith(".safetensors")).sorted().toList()) {
        parts.add(Safetensors.open(file));
      }
    }
    for (Map.Entry<String, Tensor> wanted : state.entrySet()) {
      Safetensors part =
          parts.stream()
              .filter(p -> p.contains(wanted.getKey()))
              .findFirst()
              .orElseThrow(
                  () ->
                      new CheckpointFormatException(
                          folder.resolve(FOLDER),
                          "holds no optimizer state "
                              + wanted.getKey()
                              + ": it was written by another optimizer or model; go back to that"
                              + " one, or start another checkpoint directory from these weights"));
      part.read(wanted.getKey(), wanted.getValue());
    }
  }
}
