package dev.perigee.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/**
 * The chart's README is made of the values' comments; {@code -Dperigee.regenerate=true} does it.
 */
class ReadmeTest {
  private static final Path README = Path.of("README.md");
  private static final String BEGIN =
      "<!-- values: written by ./perigee test -pl helm -am -Dperigee.regenerate=true -->\n";
  private static final String END = "<!-- end of values -->\n";

  @Test
  void theReadmesTableIsWhatTheValuesSay() throws IOException {
    String readme = Files.readString(README);
    int begin = readme.indexOf(BEGIN) + BEGIN.length();
    int end = readme.indexOf(END);
    assertThat(end).isGreaterThanOrEqualTo(begin);
    String wanted = readme.substring(0, begin) + table() + readme.substring(end);
    if (Boolean.getBoolean("perigee.regenerate")) {
      Files.writeString(README, wanted);
    }
    assertThat(Files.readString(README))
        .as(
            "README.md is stale; write it anew: ./perigee test -pl helm -am"
                + " -Dperigee.regenerate=true")
        .isEqualTo(wanted);
  }

  @Test
  void everyValueIsExplainedAndInTheSchema() throws IOException {
    Map<String, String> comments = comments();
    JsonNode schema = Rendered.YAML.readTree(Path.of("values.schema.json").toFile());
    for (String key : comments.keySet()) {
      JsonNode at = schema;
      for (String part : key.split("\\.", -1)) {
        at = at.path("properties").path(part);
      }
      assertThat(at.isMissingNode()).as("%s in values.schema.json", key).isFalse();
    }
    JsonNode values = Rendered.YAML.readTree(Path.of("values.yaml").toFile());
    TreeSet<String> leaves = new TreeSet<>();
    leaves(values, "", comments, leaves);
    assertThat(comments.keySet()).containsExactlyInAnyOrderElementsOf(leaves);
  }

  private static String table() throws IOException {
    JsonNode values = Rendered.YAML.readTree(Path.of("values.yaml").toFile());
    StringBuilder table = new StringBuilder("\n| Value | Default | Meaning |\n|---|---|---|\n");
    comments()
        .forEach(
            (key, comment) ->
                table
                    .append("| `")
                    .append(key)
                    .append("` | `")
                    .append(values.at("/" + key.replace('.', '/')))
                    .append("` | ")
                    .append(comment)
                    .append(" |\n"));
    return table.append('\n').toString();
  }

  /** Values without members, or with a comment of their own. */
  private static void leaves(
      JsonNode node, String path, Map<String, String> comments, Set<String> found) {
    for (Iterator<Map.Entry<String, JsonNode>> all = node.properties().iterator();
        all.hasNext(); ) {
      Map.Entry<String, JsonNode> member = all.next();
      String key = path.isEmpty() ? member.getKey() : path + "." + member.getKey();
      if (member.getValue().isObject()
          && !member.getValue().isEmpty()
          && !comments.containsKey(key)) {
        leaves(member.getValue(), key, comments, found);
      } else {
        found.add(key);
      }
    }
  }

  /** The comments that begin with two dashes, by the key that follows. */
  private static Map<String, String> comments() throws IOException {
    Map<String, String> comments = new LinkedHashMap<>();
    Deque<String> path = new ArrayDeque<>();
    String comment = null;
    for (String line : Files.readAllLines(Path.of("values.yaml"))) {
      String text = line.strip();
      if (text.startsWith("# -- ")) {
        comment = text.substring("# -- ".length());
      } else if (text.matches("[A-Za-z]+:.*")) {
        int depth = (line.length() - line.stripLeading().length()) / 2;
        while (path.size() > depth) {
          path.removeLast();
        }
        path.addLast(text.substring(0, text.indexOf(':')));
        if (comment != null) {
          comments.put(String.join(".", path), comment);
          comment = null;
        }
      }
    }
    return comments;
  }
}
