package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Generated files are committed; with {@code -Dperigee.regenerate=true} they are written anew. */
class CrdIsFreshTest {
  private static final Path CRD = Path.of("yaml", "pretrainjobs.perigee.dev.yaml");
  private static final Path CHARTS_COPY =
      Path.of("..", "helm", "files", "crds", "pretrainjobs.perigee.dev.yaml");
  private static final Path REFERENCE = Path.of("..", "docs", "pretrainjob.md");

  @Test
  void theCommittedDefinitionIsWhatTheTypesSay() throws IOException {
    isFresh(CRD, CrdGeneration.pretrainJob());
  }

  @Test
  void theChartsCopyOfItToo() throws IOException {
    isFresh(CHARTS_COPY, CrdGeneration.pretrainJob());
  }

  @Test
  void theReferencePageIsWhatTheDefinitionSays() throws IOException {
    isFresh(REFERENCE, FieldReference.of(CrdGeneration.pretrainJob()));
  }

  /** By {@code kubectl explain}. */
  @Test
  void everyFieldIsExplained() throws IOException {
    JsonNode schema =
        new YAMLMapper().readTree(CRD.toFile()).at("/spec/versions/0/schema/openAPIV3Schema");
    List<String> silent = new ArrayList<>();
    silent(schema, "", silent);
    assertThat(silent).isEmpty();
  }

  private static void silent(JsonNode schema, String path, List<String> found) {
    for (var field : schema.path("properties").properties()) {
      String at = path + "." + field.getKey();
      if (field.getValue().path("description").asText().isBlank()) {
        found.add(at);
      }
      silent(field.getValue(), at, found);
    }
    if (schema.has("items")) {
      silent(schema.get("items"), path + "[]", found);
    }
  }

  private static void isFresh(Path file, String generated) throws IOException {
    if (Boolean.getBoolean("perigee.regenerate")) {
      Files.createDirectories(file.getParent());
      Files.writeString(file, generated);
    }
    assertThat(file)
        .as("%s; write it anew with ./perigee test -pl crds -Dperigee.regenerate=true", file)
        .exists();
    assertThat(Files.readString(file))
        .as("%s is stale; write it anew: ./perigee test -pl crds -Dperigee.regenerate=true", file)
        .isEqualTo(generated);
  }
}
