package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.zjsonpatch.JsonPatch;
import io.fabric8.zjsonpatch.JsonPatchException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The three patches that change an object without owning its fields. */
final class Patches {
  private Patches() {}

  /** A JSON merge patch (RFC 7396): objects merge, null removes, all else replaces. */
  static JsonNode merge(JsonNode target, JsonNode patch) {
    if (!(patch instanceof ObjectNode changes)) {
      return patch.deepCopy();
    }
    ObjectNode merged = target instanceof ObjectNode object ? object.deepCopy() : Json.object();
    for (Map.Entry<String, JsonNode> change : changes.properties()) {
      if (change.getValue().isNull()) {
        merged.remove(change.getKey());
      } else {
        merged.set(change.getKey(), merge(merged.get(change.getKey()), change.getValue()));
      }
    }
    return merged;
  }

  /**
   * A JSON patch (RFC 6902).
   *
   * @throws ApiError 400 when an operation does not fit the object
   */
  static JsonNode json(JsonNode target, JsonNode operations) {
    try {
      return JsonPatch.apply(operations, target.deepCopy());
    } catch (JsonPatchException e) {
      throw ApiError.badRequest("the JSON patch does not apply: " + e.getMessage());
    }
  }

  /**
   * A strategic merge patch: as a merge patch, but lists merge by the key of their entries, and
   * {@code $patch}, {@code $retainKeys}, {@code $setElementOrder/…} and {@code
   * $deleteFromPrimitiveList/…} direct how.
   */
  static JsonNode strategic(Schema schema, JsonNode target, ObjectNode patch) {
    if (patch.path("$patch").asText("").equals("replace")) {
      ObjectNode replacement = patch.deepCopy();
      replacement.remove("$patch");
      return replacement;
    }
    ObjectNode merged = target instanceof ObjectNode object ? object.deepCopy() : Json.object();
    if (patch.get("$retainKeys") instanceof ArrayNode retained) {
      merged.retain(texts(retained));
    }
    for (Map.Entry<String, JsonNode> change : patch.properties()) {
      String name = change.getKey();
      JsonNode value = change.getValue();
      if (name.startsWith("$deleteFromPrimitiveList/")) {
        if (merged.get(name.substring(name.indexOf('/') + 1)) instanceof ArrayNode list) {
          value.forEach(gone -> list.removeIf(gone::equals));
        }
      } else if (value.isNull()) {
        merged.remove(name);
      } else if (!name.startsWith("$")) { // other directives steer what is done elsewhere
        merged.set(name, mergeField(schema.property(name), merged.get(name), value));
      }
    }
    return merged;
  }

  private static JsonNode mergeField(Schema schema, JsonNode present, JsonNode change) {
    return switch (change) {
      case ObjectNode fields -> strategic(schema, present, fields);
      case ArrayNode entries -> mergeList(schema, present, entries);
      default -> change.deepCopy();
    };
  }

  private static JsonNode mergeList(Schema schema, JsonNode present, ArrayNode entries) {
    ArrayNode list = present instanceof ArrayNode array ? array.deepCopy() : Json.array();
    switch (schema.listType()) {
      case atomic -> {
        return entries.deepCopy();
      }
      case set -> {
        for (JsonNode entry : entries) {
          list.removeIf(entry::equals);
          list.add(entry);
        }
      }
      case map -> {
        // A strategic merge tells entries apart by the first key alone.
        String key = schema.listKeys().getFirst();
        for (JsonNode entry : entries) {
          int at = indexOf(list, key, entry.get(key));
          String directive = entry.path("$patch").asText("");
          if (directive.equals("replace")) {
            list.removeAll();
          } else if (directive.equals("delete")) {
            if (at >= 0) {
              list.remove(at);
            }
          } else if (entry instanceof ObjectNode fields) {
            JsonNode merged = strategic(schema.items(), at < 0 ? null : list.get(at), fields);
            if (at < 0) {
              list.add(merged);
            } else {
              list.set(at, merged);
            }
          }
        }
      }
    }
    return list;
  }

  private static int indexOf(ArrayNode list, String key, JsonNode value) {
    for (int i = 0; i < list.size(); i++) {
      if (value != null && value.equals(list.get(i).get(key))) {
        return i;
      }
    }
    return -1;
  }

  private static List<String> texts(ArrayNode array) {
    List<String> texts = new ArrayList<>();
    array.forEach(t -> texts.add(t.asText()));
    return texts;
  }
}
