package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The part of JSONPath that printer columns use: {@code .field}, {@code ['field']}, {@code [0]},
 * {@code [*]} and {@code [?(@.field=="value")]}.
 */
final class JsonPath {
  private static final Pattern STEP =
      Pattern.compile(
          "\\.((?:\\\\.|[^.\\[\\\\])+)" // .field, with \. for a dot in it
              + "|\\['([^']*)'\\]" // ['field']
              + "|\\[(-?\\d+|\\*)\\]" // [0], [*]
              + "|\\[\\?\\(@\\.([^=!)\\s]+)\\s*(==|!=)\\s*[\"']([^\"']*)[\"']\\s*\\)\\]");

  private JsonPath() {}

  /**
   * What a path finds.
   *
   * @throws IllegalArgumentException when it is not a path of the supported part
   */
  static List<JsonNode> find(JsonNode root, String path) {
    List<JsonNode> found = List.of(root);
    Matcher step = STEP.matcher(path);
    int at = 0;
    while (at < path.length()) {
      if (!step.find(at) || step.start() != at) {
        throw new IllegalArgumentException("cannot read the JSONPath " + path + " from " + at);
      }
      List<JsonNode> next = new ArrayList<>();
      for (JsonNode node : found) {
        take(node, step, next);
      }
      found = next;
      at = step.end();
    }
    return found;
  }

  private static void take(JsonNode node, Matcher step, List<JsonNode> next) {
    if (step.group(1) != null || step.group(2) != null) {
      String name = step.group(2) != null ? step.group(2) : step.group(1).replace("\\", "");
      JsonNode child = node.get(name);
      if (child != null && !child.isNull()) {
        next.add(child);
      }
    } else if (step.group(3) != null) {
      if (step.group(3).equals("*")) {
        node.forEach(next::add);
      } else {
        int index = Integer.parseInt(step.group(3));
        JsonNode child = node.get(index < 0 ? node.size() + index : index);
        if (child != null) {
          next.add(child);
        }
      }
    } else {
      String pointer = "/" + step.group(4).replace('.', '/');
      boolean equal = step.group(5).equals("==");
      for (JsonNode entry : node) {
        if (entry.at(pointer).asText("").equals(step.group(6)) == equal) {
          next.add(entry);
        }
      }
    }
  }
}
