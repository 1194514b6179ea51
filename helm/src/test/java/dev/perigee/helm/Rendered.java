package dev.perigee.helm;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import com.marcnuri.helm.Helm;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/** What Helm makes of the chart: the objects, in its order. */
record Rendered(String text, List<JsonNode> objects) {
  static final Path CHART = Path.of("").toAbsolutePath();
  static final YAMLMapper YAML = new YAMLMapper();

  /**
   * Renders the chart as release {@code perigee} in namespace {@code ops}.
   *
   * @param values the YAML of a values file; what it leaves out is as in values.yaml
   * @throws IllegalStateException with Helm's message when it refuses the values
   */
  static Rendered with(String values) {
    return render(CHART, "perigee", "ops", values);
  }

  /** The same as a release of another name and namespace. */
  static Rendered release(String name, String namespace, String values) {
    return render(CHART, name, namespace, values);
  }

  /**
   * The same with what {@code helm test} runs. Rendering leaves hooks out, so this renders a copy
   * of the chart in which they are none.
   */
  static Rendered withTests(Path folder, String values) throws IOException {
    return withTests(folder, "perigee", "ops", values);
  }

  /** The same as a release of another name and namespace. */
  static Rendered withTests(Path folder, String name, String namespace, String values)
      throws IOException {
    copy(folder, file -> file.replace("helm.sh/hook: test", "example.com/was-hook: test"));
    return render(folder, name, namespace, values);
  }

  /** The same as release {@code perigee}, of a chart of another version. */
  static Rendered version(Path folder, String version, String values) throws IOException {
    copy(folder, file -> file.replaceFirst("(?m)^version: .*", "version: " + version));
    return render(folder, "perigee", "ops", values);
  }

  /** The chart as a part of another, which may leave it out by the value perigee.enabled. */
  static Rendered partOfAnother(Path folder, String values) throws IOException {
    copy(folder.resolve("charts").resolve("perigee"), file -> file);
    Files.writeString(
        folder.resolve("Chart.yaml"),
        """
        apiVersion: v2
        name: platform
        version: 1.0.0
        dependencies: [{name: perigee, version: "*", condition: perigee.enabled}]
        """);
    Path own = Files.createDirectory(folder.resolve("templates")).resolve("own.yaml");
    Files.writeString(own, "{apiVersion: v1, kind: ConfigMap, metadata: {name: own}}");
    return render(folder, "platform", "ops", values);
  }

  private static void copy(Path folder, UnaryOperator<String> changed) throws IOException {
    try (Stream<Path> files = Files.walk(CHART)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        Path relative = CHART.relativize(file);
        if (relative.startsWith("target") || relative.startsWith("src")) {
          continue;
        }
        Path copy = folder.resolve(relative);
        Files.createDirectories(copy.getParent());
        Files.writeString(copy, changed.apply(Files.readString(file)));
      }
    }
  }

  private static Rendered render(Path chart, String name, String namespace, String values) {
    try {
      Path file = Files.createTempFile("values", ".yaml");
      try {
        Files.writeString(file, values);
        String text =
            new Helm(chart)
                .template()
                .withName(name)
                .withNamespace(namespace)
                .withKubeVersion("1.36.0")
                .withValuesFile(file)
                .call();
        try (var documents = YAML.readerFor(JsonNode.class).<JsonNode>readValues(text)) {
          return new Rendered(
              text, documents.readAll().stream().filter(JsonNode::isObject).toList());
        }
      } finally {
        Files.delete(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** All objects of a kind. */
  List<JsonNode> all(String kind) {
    return of(kind).toList();
  }

  /** The object of a kind and name, or a missing node. */
  JsonNode one(String kind, String name) {
    return of(kind)
        .filter(o -> o.at("/metadata/name").asText().equals(name))
        .findFirst()
        .orElse(MissingNode.getInstance());
  }

  /** The pods, in a Deployment or by themselves. */
  List<JsonNode> podSpecs() {
    return Stream.concat(
            of("Deployment").map(d -> d.at("/spec/template/spec")),
            of("Pod").map(p -> p.at("/spec")))
        .toList();
  }

  private Stream<JsonNode> of(String kind) {
    return objects.stream().filter(o -> o.path("kind").asText().equals(kind));
  }
}
