package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.cel.common.CelException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * One bad manifest for each rule. A file's first line is the message that it must get; with two
 * documents, the first is what was there before.
 */
class BadManifestsTest {
  private static final Path FOLDER = Path.of("src", "test", "resources", "bad");
  private static final String EXPECT = "# Expect: ";

  private final CrdRules rules;

  BadManifestsTest() throws IOException {
    rules = new CrdRules(Path.of("yaml", "pretrainjobs.perigee.dev.yaml"));
  }

  static Stream<Path> manifests() throws IOException {
    try (Stream<Path> files = Files.list(FOLDER)) {
      return files.filter(f -> f.toString().endsWith(".yaml")).sorted().toList().stream();
    }
  }

  @ParameterizedTest
  @MethodSource("manifests")
  void aBadManifestGetsExactlyItsMessage(Path file) throws IOException, CelException {
    String expected = Files.readAllLines(file).getFirst();
    assertThat(expected).as("first line of %s", file).startsWith(EXPECT);
    assertThat(broken(file))
        .extracting(CrdRules.Broken::message)
        .containsExactly(expected.substring(EXPECT.length()));
  }

  @Test
  void everyRuleHasItsBadManifest() throws IOException, CelException {
    Set<String> seen = new HashSet<>();
    for (Path file : manifests().toList()) {
      broken(file).forEach(b -> seen.add(b.rule()));
    }
    assertThat(seen).containsExactlyInAnyOrderElementsOf(rules.all());
  }

  @Test
  void everyRuleCompilesWithTheTypesOfTheSchema() throws CelException {
    rules.compileWithTypes();
  }

  private List<CrdRules.Broken> broken(Path file) throws IOException, CelException {
    List<JsonNode> documents = documents(file);
    Optional<JsonNode> before =
        documents.size() > 1 ? Optional.of(documents.getFirst()) : Optional.empty();
    if (before.isPresent()) {
      assertThat(rules.broken(before.get(), Optional.empty())).as("before").isEmpty();
    }
    return rules.broken(documents.getLast(), before);
  }

  static List<JsonNode> documents(Path file) throws IOException {
    YAMLMapper yaml = new YAMLMapper();
    try (var read = yaml.readerFor(JsonNode.class).<JsonNode>readValues(file.toFile())) {
      return read.readAll();
    }
  }
}
