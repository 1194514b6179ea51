package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * A set of paths to the fields of an object, in the alphabet of {@code FieldsV1}: {@code f:name} is
 * a field, {@code k:{"name":"a"}} the entry of a list with that key, {@code v:"a"} the entry of a
 * set with that value, and a last {@code .} the thing itself where it also has fields.
 *
 * @param paths the paths
 */
record FieldSet(Set<List<String>> paths) {
  private static final Comparator<List<String>> ORDER =
      Comparator.comparing(path -> String.join("\u0000", path));

  FieldSet {
    Set<List<String>> sorted = new TreeSet<>(ORDER);
    sorted.addAll(paths);
    paths = sorted;
  }

  static FieldSet empty() {
    return new FieldSet(Set.of());
  }

  /** The fields that an object gives values to; what the server itself owns is left out. */
  static FieldSet of(Schema schema, JsonNode object) {
    Set<List<String>> paths = new TreeSet<>(ORDER);
    walk(schema, object, List.of(), paths);
    paths.removeIf(FieldSet::serverOwned);
    return new FieldSet(paths);
  }

  private static boolean serverOwned(List<String> path) {
    String first = path.getFirst();
    if (!first.equals("f:metadata")) {
      return first.equals("f:apiVersion") || first.equals("f:kind");
    }
    return path.size() < 2
        || switch (path.get(1)) {
          case "f:labels", "f:annotations", "f:finalizers", "f:ownerReferences" -> false;
          default -> true;
        };
  }

  private static void walk(
      Schema schema, JsonNode value, List<String> path, Set<List<String>> paths) {
    if (value instanceof ObjectNode object && !schema.atomicMap() && !object.isEmpty()) {
      object
          .properties()
          .forEach(
              f ->
                  walk(
                      schema.property(f.getKey()),
                      f.getValue(),
                      append(path, "f:" + f.getKey()),
                      paths));
    } else if (value instanceof ArrayNode list
        && schema.listType() != Schema.ListType.atomic
        && !list.isEmpty()) {
      for (JsonNode entry : list) {
        List<String> at = append(path, entryElement(schema, entry));
        if (schema.listType() == Schema.ListType.map) {
          paths.add(append(at, "."));
          walk(schema.items(), entry, at, paths);
        } else {
          paths.add(at);
        }
      }
    } else {
      paths.add(path);
    }
  }

  /** How an entry of a keyed list or a set is called in a path. */
  static String entryElement(Schema list, JsonNode entry) {
    if (list.listType() == Schema.ListType.set) {
      return "v:" + entry;
    }
    ObjectNode keys = Json.object();
    for (String key : list.listKeys().stream().sorted().toList()) {
      JsonNode value = list.items().keyOf(entry, key);
      if (value != null) {
        keys.set(key, value);
      }
    }
    return "k:" + keys;
  }

  /** The value at a path of an object, null when there is none. */
  static JsonNode valueAt(Schema schema, JsonNode object, List<String> path) {
    JsonNode value = object;
    Schema at = schema;
    for (String element : path) {
      if (value == null) {
        return null;
      }
      if (element.equals(".")) {
        return value;
      }
      if (element.startsWith("f:")) {
        String name = element.substring(2);
        value = value.get(name);
        at = at.property(name);
      } else {
        int index = indexOf(at, value, element);
        value = index < 0 ? null : value.get(index);
        at = at.items();
      }
    }
    return value;
  }

  /** The index of the entry that a path element names, negative when there is none. */
  static int indexOf(Schema list, JsonNode value, String element) {
    for (int i = 0; value.isArray() && i < value.size(); i++) {
      if (entryElement(list, value.get(i)).equals(element)) {
        return i;
      }
    }
    return -1;
  }

  FieldSet plus(Collection<List<String>> more) {
    Set<List<String>> all = new TreeSet<>(ORDER);
    all.addAll(paths);
    all.addAll(more);
    return new FieldSet(all);
  }

  FieldSet minus(Collection<List<String>> gone) {
    Set<List<String>> left = new TreeSet<>(ORDER);
    left.addAll(paths);
    gone.forEach(left::remove);
    return new FieldSet(left);
  }

  boolean contains(List<String> path) {
    return paths.contains(path);
  }

  boolean isEmpty() {
    return paths.isEmpty();
  }

  /** The set as {@code FieldsV1}. */
  ObjectNode toFieldsV1() {
    ObjectNode root = Json.object();
    for (List<String> path : paths) {
      ObjectNode node = root;
      for (String element : path) {
        node = Json.child(node, element);
      }
    }
    return root;
  }

  /** Reads {@code FieldsV1}. */
  static FieldSet fromFieldsV1(JsonNode fields) {
    Set<List<String>> paths = new TreeSet<>(ORDER);
    collect(fields, List.of(), paths);
    return new FieldSet(paths);
  }

  private static void collect(JsonNode node, List<String> path, Set<List<String>> paths) {
    if (node.isEmpty() && !path.isEmpty()) {
      paths.add(path);
    }
    for (Map.Entry<String, JsonNode> e : node.properties()) {
      collect(e.getValue(), append(path, canonical(e.getKey())), paths);
    }
  }

  /** Keys as this server writes them: clients may have spaced or ordered them otherwise. */
  private static String canonical(String element) {
    if (!element.startsWith("k:") && !element.startsWith("v:")) {
      return element;
    }
    try {
      JsonNode key = Json.parse(element.substring(2).getBytes(StandardCharsets.UTF_8), false);
      if (!(key instanceof ObjectNode fields)) {
        return element.substring(0, 2) + key;
      }
      ObjectNode sorted = Json.object();
      fields.properties().stream()
          .sorted(Map.Entry.comparingByKey())
          .forEach(f -> sorted.set(f.getKey(), f.getValue()));
      return "k:" + sorted;
    } catch (IOException e) {
      return element;
    }
  }

  /** The path as people write it, for example {@code .spec.containers[name="a"].image}. */
  static String shown(List<String> path) {
    StringBuilder text = new StringBuilder();
    for (String element : path) {
      if (element.startsWith("f:")) {
        text.append('.').append(element, 2, element.length());
      } else if (element.startsWith("k:{")) {
        text.append('[')
            .append(element.substring(3, element.length() - 1).replaceAll("\"([^\"]+)\":", "$1="))
            .append(']');
      } else if (element.startsWith("v:")) {
        text.append('[').append(element, 2, element.length()).append(']');
      }
    }
    return text.toString();
  }

  static List<String> append(List<String> path, String element) {
    List<String> longer = new ArrayList<>(path);
    longer.add(element);
    return List.copyOf(longer);
  }
}
