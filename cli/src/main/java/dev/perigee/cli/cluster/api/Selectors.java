package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Label and field selectors, as predicates on objects. */
public final class Selectors {
  private static final Pattern SET =
      Pattern.compile("\\s*([^\\s!=,()]+)\\s+(in|notin)\\s*\\(([^)]*)\\)\\s*");
  private static final Pattern COMPARE =
      Pattern.compile("\\s*([^\\s!=,()]+)\\s*(==|=|!=)\\s*(\\S*)\\s*");
  private static final Pattern EXISTS = Pattern.compile("\\s*(!?)\\s*([^\\s!=<>,()]+)\\s*");

  private Selectors() {}

  /**
   * The objects that both selectors choose.
   *
   * @param labelSelector for example {@code app=x,tier in (a, b),!old}, or null for all
   * @param fieldSelector for example {@code metadata.name=x,status.phase!=Failed}, or null for all
   * @param fields what the second may name
   * @throws ApiError 400 when one cannot be parsed, or names another field: {@code !=} would choose
   *     all objects by a field that none has
   */
  public static Predicate<JsonNode> of(
      String labelSelector, String fieldSelector, Set<String> fields) {
    Predicate<JsonNode> all = object -> true;
    for (String part : parts(labelSelector)) {
      all = all.and(label(part));
    }
    for (String part : parts(fieldSelector)) {
      all = all.and(field(part, fields));
    }
    return all;
  }

  private static Predicate<JsonNode> label(String requirement) {
    Matcher set = SET.matcher(requirement);
    if (set.matches()) {
      Set<String> values = new HashSet<>();
      for (String value : set.group(3).split(",", -1)) {
        values.add(value.strip());
      }
      boolean in = set.group(2).equals("in");
      String key = set.group(1);
      return o -> {
        String value = labelOf(o, key);
        return in ? value != null && values.contains(value) : !values.contains(value);
      };
    }
    Matcher compare = COMPARE.matcher(requirement);
    if (compare.matches()) {
      String key = compare.group(1);
      String wanted = compare.group(3);
      boolean equal = !compare.group(2).equals("!=");
      return o -> wanted.equals(labelOf(o, key)) == equal;
    }
    Matcher exists = EXISTS.matcher(requirement);
    if (exists.matches()) {
      boolean wanted = exists.group(1).isEmpty();
      return o -> (labelOf(o, exists.group(2)) != null) == wanted;
    }
    throw ApiError.badRequest("unable to parse label selector requirement: " + requirement);
  }

  private static Predicate<JsonNode> field(String requirement, Set<String> fields) {
    Matcher compare = COMPARE.matcher(requirement);
    if (!compare.matches()) {
      throw ApiError.badRequest("unable to parse field selector requirement: " + requirement);
    }
    if (!fields.contains(compare.group(1))) {
      throw ApiError.badRequest(
          "field label not supported: %s (supported: %s)"
              .formatted(compare.group(1), String.join(", ", new TreeSet<>(fields))));
    }
    String pointer = "/" + compare.group(1).replace('.', '/');
    String wanted = compare.group(3);
    boolean equal = !compare.group(2).equals("!=");
    return o -> o.at(pointer).asText("").equals(wanted) == equal;
  }

  private static String labelOf(JsonNode object, String key) {
    JsonNode value = object.path("metadata").path("labels").get(key);
    return value == null ? null : value.asText();
  }

  /** Splits at the commas that are not within parentheses. */
  private static List<String> parts(String selector) {
    List<String> parts = new ArrayList<>();
    if (selector == null || selector.isBlank()) {
      return parts;
    }
    int depth = 0;
    int start = 0;
    for (int i = 0; i < selector.length(); i++) {
      char c = selector.charAt(i);
      if (c == '(') {
        depth++;
      } else if (c == ')') {
        depth--;
      } else if (c == ',' && depth == 0) {
        parts.add(selector.substring(start, i));
        start = i + 1;
      }
    }
    parts.add(selector.substring(start));
    return parts;
  }
}
