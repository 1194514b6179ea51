package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.perigee.api.PretrainJob;
import io.fabric8.kubernetes.api.model.StatusCause;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a real API server says to manifests, good and bad, by the definition alone. */
class ManifestsIT {
  private static final YAMLMapper YAML = new YAMLMapper();

  private static RealApi api;

  private final String namespace = api.namespace("manifest");

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  static Stream<Path> examples() throws IOException {
    return yaml(Path.of("..", "examples"));
  }

  static Stream<Path> badManifests() throws IOException {
    return yaml(Path.of("..", "crds", "src", "test", "resources", "bad"));
  }

  @ParameterizedTest
  @MethodSource("examples")
  void anExampleIsAccepted(Path file) throws IOException {
    for (JsonNode document : documents(file)) {
      if (document.path("kind").asText().equals(PretrainJob.KIND)) {
        send("POST", "", "?fieldValidation=Strict&dryRun=All", document);
      }
    }
  }

  /** A file of two documents is a job and a change of it, which is refused. */
  @ParameterizedTest
  @MethodSource("badManifests")
  void aBadManifestIsRefusedWithItsMessage(Path file) throws IOException {
    String expected = Files.readAllLines(file).getFirst().substring("# Expect: ".length());
    List<JsonNode> documents = documents(file);
    KubernetesClientException refusal;
    if (documents.size() == 1) {
      refusal = refused("POST", "", documents.getFirst());
    } else {
      send("POST", "", "?fieldValidation=Strict", documents.getFirst());
      ObjectNode changed = documents.getLast().deepCopy();
      String name = changed.at("/metadata/name").asText();
      changed
          .withObject("/metadata")
          .put("resourceVersion", api.job(namespace, name).getMetadata().getResourceVersion());
      refusal = refused("PUT", "/" + name, changed);
    }
    assertThat(refusal.getCode()).isEqualTo(422);
    assertThat(refusal.getStatus().getDetails().getCauses())
        .singleElement()
        .extracting(StatusCause::getMessage)
        .asString()
        .endsWith(": " + expected);
  }

  private KubernetesClientException refused(String method, String path, JsonNode body) {
    try {
      send(method, path, "?fieldValidation=Strict&dryRun=All", body);
    } catch (KubernetesClientException e) {
      return e;
    }
    throw new AssertionError("accepted");
  }

  private void send(String method, String path, String query, JsonNode body) {
    api.client()
        .raw(
            "/apis/perigee.dev/v1alpha1/namespaces/" + namespace + "/pretrainjobs" + path + query,
            method,
            body);
  }

  private static Stream<Path> yaml(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.filter(f -> f.toString().endsWith(".yaml")).sorted().toList().stream();
    }
  }

  private static List<JsonNode> documents(Path file) throws IOException {
    try (var read = YAML.readerFor(JsonNode.class).<JsonNode>readValues(file.toFile())) {
      return read.readAll();
    }
  }
}
