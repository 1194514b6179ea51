package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The environment and the arguments that a manifest gives to a container. */
final class ContainerEnvironment {
  private static final Pattern REFERENCE =
      Pattern.compile("\\$\\$|\\$\\(([A-Za-z_][-A-Za-z0-9_.]*)\\)");
  private static final Pattern SUBSCRIPT =
      Pattern.compile("metadata\\.(labels|annotations)\\['([^']+)'\\]");

  private ContainerEnvironment() {}

  /**
   * The variables of {@code env} and {@code envFrom}.
   *
   * @param objects looks up {@code configmaps} and {@code secrets} by kind and name
   * @throws IOException when one refers to what is not there
   */
  static Map<String, String> of(
      JsonNode pod, JsonNode container, BiFunction<String, String, ObjectNode> objects)
      throws IOException {
    Map<String, String> variables = new LinkedHashMap<>();
    for (JsonNode source : container.path("envFrom")) {
      String prefix = Json.text(source, "prefix");
      if (source.has("configMapRef")) {
        ObjectNode map = objects.apply("configmaps", Json.text(source, "configMapRef", "name"));
        if (map != null) {
          map.path("data")
              .properties()
              .forEach(e -> variables.put(prefix + e.getKey(), e.getValue().asText()));
        } else if (!Json.at(source, "configMapRef", "optional").asBoolean(false)) {
          throw new IOException(
              "configmap \"" + Json.text(source, "configMapRef", "name") + "\" not found");
        }
      } else {
        throw new IOException("envFrom: the embedded node takes configMapRef only");
      }
    }
    for (JsonNode variable : container.path("env")) {
      String name = Json.text(variable, "name");
      JsonNode from = variable.path("valueFrom");
      if (from.isMissingNode()) {
        variables.put(name, expand(Json.text(variable, "value"), variables));
      } else {
        String value = valueFrom(pod, name, from, objects);
        if (value != null) {
          variables.put(name, value);
        }
      }
    }
    return variables;
  }

  /** A list of words with {@code $(NAME)} replaced. */
  static List<String> words(JsonNode list, Map<String, String> variables) {
    List<String> words = new ArrayList<>();
    list.forEach(w -> words.add(expand(w.asText(), variables)));
    return words;
  }

  private static String expand(String text, Map<String, String> variables) {
    Matcher m = REFERENCE.matcher(text);
    return m.replaceAll(
        r -> {
          if (r.group(1) == null) {
            return Matcher.quoteReplacement("$");
          }
          return Matcher.quoteReplacement(variables.getOrDefault(r.group(1), r.group()));
        });
  }

  private static String valueFrom(
      JsonNode pod, String variable, JsonNode from, BiFunction<String, String, ObjectNode> objects)
      throws IOException {
    if (from.has("fieldRef")) {
      return field(pod, variable, Json.text(from, "fieldRef", "fieldPath"));
    }
    boolean secret = from.has("secretKeyRef");
    if (!secret && !from.has("configMapKeyRef")) {
      throw new IOException(
          "env "
              + variable
              + ": the embedded node takes fieldRef, configMapKeyRef and secretKeyRef");
    }
    JsonNode reference = secret ? from.path("secretKeyRef") : from.path("configMapKeyRef");
    String name = Json.text(reference, "name");
    ObjectNode source = objects.apply(secret ? "secrets" : "configmaps", name);
    JsonNode value = source == null ? null : source.path("data").get(Json.text(reference, "key"));
    if (value == null) {
      if (reference.path("optional").asBoolean(false)) {
        return null;
      }
      throw new IOException(
          "env " + variable + ": couldn't find key " + Json.text(reference, "key") + " in " + name);
    }
    return secret
        ? new String(Base64.getDecoder().decode(value.asText()), StandardCharsets.UTF_8)
        : value.asText();
  }

  private static String field(JsonNode pod, String variable, String path) throws IOException {
    Matcher subscript = SUBSCRIPT.matcher(path);
    if (subscript.matches()) {
      return Json.text(pod, "metadata", subscript.group(1), subscript.group(2));
    }
    return switch (path) {
      case "metadata.name",
          "metadata.namespace",
          "metadata.uid",
          "spec.nodeName",
          "spec.serviceAccountName",
          "status.hostIP",
          "status.podIP" ->
          pod.at("/" + path.replace('.', '/')).asText("");
      default -> throw new IOException("env " + variable + ": unsupported fieldPath " + path);
    };
  }
}
