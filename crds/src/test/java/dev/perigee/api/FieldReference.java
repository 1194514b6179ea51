package dev.perigee.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.StringJoiner;

/** Makes {@code docs/pretrainjob.md} from the definition: every field, every rule. */
final class FieldReference {
  private static final String HEADER =
      """
      # PretrainJob, field by field

      <!-- Generated from crds/yaml/pretrainjobs.perigee.dev.yaml; to write it anew:
           ./perigee test -pl crds -Dperigee.regenerate=true -->

      `apiVersion: perigee.dev/v1alpha1`, `kind: PretrainJob`, short name `ptj`. `kubectl explain ptj.spec` says the same.
      """;

  private FieldReference() {}

  /** The page for a definition in YAML. */
  static String of(String definition) throws IOException {
    JsonNode schema =
        new YAMLMapper().readTree(definition).at("/spec/versions/0/schema/openAPIV3Schema");
    StringBuilder page = new StringBuilder(HEADER);
    for (String part : List.of("spec", "status")) {
      page.append("\n## ").append(part).append("\n\n");
      page.append(part.equals("spec") ? "What is asked for." : "What came of it.").append("\n\n");
      page.append("| Field | Type | Default | Bounds | Meaning |\n|---|---|---|---|---|\n");
      rows(schema.at("/properties/" + part), "", page);
    }
    page.append("\n## Rules\n\nBeyond types and bounds, a manifest is refused with:\n\n");
    rules(schema).forEach(message -> page.append("- ").append(message).append('\n'));
    return page.toString();
  }

  private static void rows(JsonNode schema, String path, StringBuilder page) {
    List<String> required = new ArrayList<>();
    schema.path("required").forEach(name -> required.add(name.asText()));
    for (var property : schema.path("properties").properties()) {
      JsonNode field = property.getValue();
      if (!field.has("description")) {
        continue; // of Kubernetes' own types, described there
      }
      String name = path + property.getKey();
      page.append("| `").append(name).append("` | ").append(type(field)).append(" | ");
      page.append(required.contains(property.getKey()) ? "required" : byDefault(field));
      page.append(" | ").append(bounds(field)).append(" | ");
      page.append(field.path("description").asText().replace("|", "\\|")).append(" |\n");
      rows(field, name + ".", page);
      rows(field.path("items"), name + "[].", page);
    }
  }

  private static String type(JsonNode field) {
    if (field.path("x-kubernetes-int-or-string").asBoolean()) {
      return "quantity";
    }
    if (field.path("type").asText().equals("array")) {
      return "list of " + type(field.get("items"));
    }
    return field.path("additionalProperties").isObject()
        ? "map to " + type(field.get("additionalProperties"))
        : field.path("type").asText();
  }

  private static String byDefault(JsonNode field) {
    return field.has("default") ? "`" + field.get("default") + "`" : "";
  }

  private static String bounds(JsonNode field) {
    StringJoiner bounds = new StringJoiner(", ");
    List<String> values = new ArrayList<>();
    JsonNode words = field.has("items") ? field.get("items").path("enum") : field.path("enum");
    words.forEach(value -> values.add("`" + value.asText() + "`"));
    if (!values.isEmpty()) {
      bounds.add(String.join(", ", values));
    }
    if (field.has("minimum")) {
      boolean above = field.path("exclusiveMinimum").asBoolean();
      bounds.add((above ? "> " : "≥ ") + field.get("minimum").asText());
    }
    if (field.has("maximum")) {
      boolean below = field.path("exclusiveMaximum").asBoolean();
      bounds.add((below ? "< " : "≤ ") + field.get("maximum").asText());
    }
    if (field.has("maxLength")) {
      bounds.add("≤ " + field.get("maxLength") + " characters");
    }
    if (field.has("maxItems")) {
      bounds.add("≤ " + field.get("maxItems") + " entries");
    }
    return bounds.toString();
  }

  private static Set<String> rules(JsonNode schema) {
    Set<String> messages = new LinkedHashSet<>();
    schema
        .findValues("x-kubernetes-validations")
        .forEach(rules -> rules.forEach(rule -> messages.add(rule.path("message").asText())));
    return messages;
  }
}
