package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class CrdDefaultsTest {
  /**
   * kubectl's client-side apply replaces a list that differs from the manifest's, and one whose
   * entries were defaulted always does: the second apply would then say "configured".
   */
  @Test
  void noDefaultStandsInsideAListSoThatASecondApplyChangesNothing() throws IOException {
    JsonNode schema =
        new YAMLMapper()
            .readTree(CrdGeneration.pretrainJob())
            .at("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    assertThat(schema.isMissingNode()).isFalse();
    List<String> found = new ArrayList<>();
    collect(schema, "spec", false, found);
    assertThat(found).isEmpty();
  }

  private static void collect(JsonNode schema, String path, boolean inList, List<String> found) {
    if (inList && schema.has("default")) {
      found.add(path);
    }
    schema
        .path("properties")
        .properties()
        .forEach(p -> collect(p.getValue(), path + "." + p.getKey(), inList, found));
    if (schema.has("items")) {
      collect(schema.get("items"), path + "[]", true, found);
    }
  }
}
