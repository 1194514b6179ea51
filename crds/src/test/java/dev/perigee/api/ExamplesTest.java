package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.cel.common.CelException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
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

  /** What the operator reads and would write again is what the API server has. */
  @ParameterizedTest
  @MethodSource("examples")
  void anExampleLosesNothingOnItsWayThroughTheOperator(Path file) throws IOException {
    ObjectMapper json = new ObjectMapper();
    for (JsonNode job : BadManifestsTest.documents(file)) {
      if (job.path("kind").asText().equals(PretrainJob.KIND)) {
        JsonNode written = json.valueToTree(rules.parse(job));
        assertThat(leaves(written)).isEqualTo(leaves(rules.withDefaults(job)));
      }
    }
  }

  /** Values by their path; a quantity and a number may be written in several ways. */
  private static Map<String, String> leaves(JsonNode tree) {
    Map<String, String> leaves = new TreeMap<>();
    collect(tree.path("spec"), "spec", leaves);
    return leaves;
  }

  private static void collect(JsonNode node, String path, Map<String, String> leaves) {
    if (node.isObject()) {
      node.properties().forEach(f -> collect(f.getValue(), path + "." + f.getKey(), leaves));
    } else if (node.isArray()) {
      for (int i = 0; i < node.size(); i++) {
        collect(node.get(i), path + "[" + i + "]", leaves);
      }
    } else if (node.isNumber()) {
      leaves.put(path, node.decimalValue().stripTrailingZeros().toPlainString());
    } else if (!node.isNull()) {
      leaves.put(path, node.asText());
    }
  }
}
