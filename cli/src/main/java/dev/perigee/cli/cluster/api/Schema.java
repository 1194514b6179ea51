package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;

/**
 * A structural OpenAPI v3 schema, as a CRD carries it.
 *
 * @param node the schema's JSON; a missing node describes anything
 */
public record Schema(JsonNode node) {
  /** Describes anything, and prunes nothing. */
  public static final Schema ANYTHING =
      new Schema(Json.object().put("x-kubernetes-preserve-unknown-fields", true));

  /** How the entries of a list are told apart when it is merged or applied. */
  public enum ListType {
    atomic,
    set,
    map
  }

  /** The declared type, empty for int-or-string and for anything. */
  public String type() {
    return node.path("type").asText("");
  }

  /** Whether a property of that name is declared. */
  public boolean declares(String property) {
    return node.path("properties").has(property);
  }

  /** The schema of a property: the declared one, that of additional ones, or anything. */
  public Schema property(String name) {
    JsonNode declared = node.path("properties").get(name);
    if (declared != null) {
      return new Schema(declared);
    }
    JsonNode additional = node.path("additionalProperties");
    return additional.isObject() ? new Schema(additional) : ANYTHING;
  }

  /** Whether names that are not declared may appear: a map, or an open object. */
  public boolean open() {
    JsonNode additional = node.path("additionalProperties");
    return additional.isObject() || additional.asBoolean(false) || preservesUnknown() || embedded();
  }

  /** Whether unknown fields are kept as they are. */
  public boolean preservesUnknown() {
    return node.path("x-kubernetes-preserve-unknown-fields").asBoolean(false);
  }

  /** Whether this is a whole Kubernetes object with its own apiVersion, kind and metadata. */
  public boolean embedded() {
    return node.path("x-kubernetes-embedded-resource").asBoolean(false);
  }

  /** Whether this takes an integer or a string. */
  public boolean intOrString() {
    return node.path("x-kubernetes-int-or-string").asBoolean(false);
  }

  /** The schema of a list's entries. */
  public Schema items() {
    JsonNode items = node.get("items");
    return items == null ? ANYTHING : new Schema(items);
  }

  /** How a list's entries are told apart. */
  public ListType listType() {
    return switch (node.path("x-kubernetes-list-type").asText("")) {
      case "map" -> ListType.map;
      case "set" -> ListType.set;
      default -> ListType.atomic;
    };
  }

  /** The key fields of a {@link ListType#map} list. */
  public List<String> listKeys() {
    List<String> keys = new ArrayList<>();
    node.path("x-kubernetes-list-map-keys").forEach(k -> keys.add(k.asText()));
    return keys;
  }

  /** Whether an object is owned and replaced as a whole. */
  public boolean atomicMap() {
    return node.path("x-kubernetes-map-type").asText("").equals("atomic");
  }

  /** The default value, null when there is none. */
  public JsonNode defaultValue() {
    return node.get("default");
  }

  /** The value of a list entry's key field: its own, or the schema's default. */
  public JsonNode keyOf(JsonNode entry, String key) {
    JsonNode own = entry.get(key);
    return own != null ? own : property(key).defaultValue();
  }
}
