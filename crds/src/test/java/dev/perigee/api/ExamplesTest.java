package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import dev.cel.common.CelException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ExamplesTest {
  private final CrdRules rules;

  ExamplesTest() throws IOException {
    rules = new CrdRules(Path.of("yaml", "pretrainjobs.perigee.dev.yaml"));
  }

  static Stream<Path> examples() throws IOException {
    try (Stream<Path> files = Files.list(Path.of("..", "examples"))) {
      return files.filter(f -> f.toString().endsWith(".yaml")).sorted().toList().stream();
    }
  }

  @ParameterizedTest
  @MethodSource("examples")
  void anExampleHasNoUnknownFieldAndBreaksNoRule(Path file) throws IOException, CelException {
    List<JsonNode> jobs =
        BadManifestsTest.documents(file).stream()
            .filter(d -> d.path("kind").asText().equals(PretrainJob.KIND))
            .toList();
    assertThat(jobs).isNotEmpty();
    for (JsonNode job : jobs) {
      assertThat(rules.parse(job).getSpec()).isNotNull();
      assertThat(rules.broken(job, Optional.empty())).isEmpty();
    }
  }
}
