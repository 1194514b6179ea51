package dev.perigee.cli.cluster.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import io.fabric8.kubernetes.api.model.StatusCause;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The embedded API server says to the bad manifests what a real one says. */
class PretrainJobRulesTest {
  private static final Path CRD = Path.of("..", "crds", "yaml", "pretrainjobs.perigee.dev.yaml");
  private static final YAMLMapper YAML = new YAMLMapper();

  private static ApiServer server;
  private static KubernetesClient client;

  @BeforeAll
  static void start() throws IOException {
    server = new ApiServer(0);
    client =
        new KubernetesClientBuilder()
            .withConfig(new ConfigBuilder().withMasterUrl(server.url()).build())
            .build();
    client
        .resource(client.apiextensions().v1().customResourceDefinitions().load(CRD.toFile()).item())
        .create();
  }

  @AfterAll
  static void stop() {
    client.close();
    server.close();
  }

  static Stream<Path> badManifests() throws IOException {
    try (Stream<Path> files = Files.list(Path.of("..", "crds", "src", "test", "resources", "bad"))) {
      return files.filter(f -> f.toString().endsWith(".yaml")).sorted().toList().stream();
    }
  }

  @ParameterizedTest
  @MethodSource("badManifests")
  void aBadManifestIsRefusedWithItsMessage(Path file) throws IOException {
    String expected = Files.readAllLines(file).getFirst().substring("# Expect: ".length());
    List<JsonNode> documents;
    try (var read = YAML.readerFor(JsonNode.class).<JsonNode>readValues(file.toFile())) {
      documents = read.readAll();
    }
    String name = documents.getLast().at("/metadata/name").asText();
    KubernetesClientException refusal;
    if (documents.size() == 1) {
      refusal = refused("POST", "", documents.getFirst());
    } else {
      JsonNode before = YAML.readTree(client.raw(url(""), "POST", documents.getFirst()));
      ObjectNode changed = documents.getLast().deepCopy();
      changed
          .withObject("/metadata")
          .put("resourceVersion", before.at("/metadata/resourceVersion").asText());
      refusal = refused("PUT", "/" + name, changed);
      client.raw(url("/" + name), "DELETE", null);
    }
    assertThat(refusal.getCode()).isEqualTo(422);
    assertThat(refusal.getStatus().getDetails().getCauses())
        .singleElement()
        .extracting(StatusCause::getMessage)
        .asString()
        .endsWith(": " + expected);
  }

  private static KubernetesClientException refused(String method, String path, JsonNode body) {
    try {
      client.raw(url(path), method, body);
    } catch (KubernetesClientException e) {
      return e;
    }
    throw new AssertionError("accepted");
  }

  private static String url(String path) {
    return "/apis/perigee.dev/v1alpha1/namespaces/default/pretrainjobs"
        + path
        + "?fieldValidation=Strict";
  }
}
