package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import com.fasterxml.jackson.dataformat.yaml.YAMLGenerator;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/** JSON trees: the one form in which the API server holds objects. */
public final class Json {
  /** The mapper for trees; it has no configuration that matters to them. */
  public static final ObjectMapper MAPPER = new ObjectMapper();

  private static final ObjectWriter ASCII = MAPPER.writer().with(JsonWriteFeature.ESCAPE_NON_ASCII);

  private static final ObjectMapper YAML =
      new ObjectMapper(
          new YAMLFactory()
              .disable(YAMLGenerator.Feature.WRITE_DOC_START_MARKER)
              .enable(YAMLGenerator.Feature.MINIMIZE_QUOTES));

  private Json() {}

  /** An empty object. */
  public static ObjectNode object() {
    return JsonNodeFactory.instance.objectNode();
  }

  /** An empty array. */
  public static ArrayNode array() {
    return JsonNodeFactory.instance.arrayNode();
  }

  /**
   * Parses JSON or YAML, which contains JSON.
   *
   * @throws IOException when it is neither, or holds nothing
   */
  public static JsonNode parse(byte[] body, boolean yaml) throws IOException {
    JsonNode tree = (yaml ? YAML : MAPPER).readTree(body);
    if (tree == null || tree.isMissingNode()) {
      throw new IOException("the body is empty");
    }
    return tree;
  }

  /** The tree as UTF-8 JSON on one line. */
  public static byte[] bytes(JsonNode tree) {
    try {
      return MAPPER.writeValueAsBytes(tree);
    } catch (JsonProcessingException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The tree as JSON on one line, with every character beyond ASCII escaped. */
  public static byte[] ascii(JsonNode tree) {
    try {
      return ASCII.writeValueAsBytes(tree);
    } catch (JsonProcessingException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The tree as YAML. */
  public static byte[] yaml(JsonNode tree) {
    try {
      return YAML.writeValueAsString(tree).getBytes(StandardCharsets.UTF_8);
    } catch (JsonProcessingException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The node at a path of field names, a missing node when there is none. */
  public static JsonNode at(JsonNode tree, String... path) {
    JsonNode node = tree;
    for (String field : path) {
      node = node == null ? MissingNode.getInstance() : node.path(field);
    }
    return node == null ? MissingNode.getInstance() : node;
  }

  /** The text at a path, empty when there is none. */
  public static String text(JsonNode tree, String... path) {
    return at(tree, path).asText("");
  }

  /** The object in a field, made when absent or null. */
  public static ObjectNode child(ObjectNode parent, String field) {
    return parent.get(field) instanceof ObjectNode present ? present : parent.putObject(field);
  }

  /** The metadata of an object, made when absent. */
  public static ObjectNode metadata(ObjectNode object) {
    return child(object, "metadata");
  }
}
