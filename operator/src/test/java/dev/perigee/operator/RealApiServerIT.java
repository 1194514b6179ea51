package dev.perigee.operator;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.run.RunStatus;
import io.fabric8.kubeapitest.KubeAPIServer;
import io.fabric8.kubeapitest.KubeAPIServerConfigBuilder;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Event;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.StatusCause;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The definition and the operator against a real kube-apiserver, without kubelet and controllers:
 * the test plays those. Its binaries are those of Fabric8's kube-api-test; nothing is downloaded,
 * and without them the tests are skipped.
 */
class RealApiServerIT {
  private static final Path BINARIES = Path.of(System.getProperty("user.home"), ".kubeapitest");
  private static final Path CRD = Path.of("..", "crds", "yaml", "pretrainjobs.perigee.dev.yaml");
  private static final YAMLMapper YAML = new YAMLMapper();

  private static KubeAPIServer server;
  private static KubernetesClient client;

  private volatile RunStatus said;

  @BeforeAll
  static void start() {
    assumeTrue(
        Files.isDirectory(BINARIES.resolve("k8s")),
        "SKIPPED: no kube-apiserver in " + BINARIES + ", so nothing was tried against a real one");
    Awaitility.setDefaultTimeout(Duration.ofSeconds(60));
    server =
        new KubeAPIServer(
            KubeAPIServerConfigBuilder.anAPIServerConfig()
                .withOfflineMode(true)
                .withUpdateKubeConfig(false)
                .build());
    server.start();
    client =
        new KubernetesClientBuilder()
            .withConfig(Config.fromKubeconfig(server.getKubeConfigYaml()))
            .build();
    CustomResourceDefinition crd =
        client.apiextensions().v1().customResourceDefinitions().load(CRD.toFile()).item();
    client.resource(crd).serverSideApply();
    await()
        .atMost(Duration.ofSeconds(20))
        .until(
            () ->
                client.resource(crd).get().getStatus().getConditions().stream()
                    .anyMatch(
                        c -> c.getType().equals("Established") && c.getStatus().equals("True")));
  }

  @AfterAll
  static void stop() {
    if (client != null) {
      client.close();
    }
    if (server != null) {
      server.stop();
    }
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
        send("POST", "", document, true);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("badManifests")
  void aBadManifestIsRefusedWithItsMessage(Path file) throws IOException {
    String expected = Files.readAllLines(file).getFirst().substring("# Expect: ".length());
    List<JsonNode> documents = documents(file);
    String name = documents.getLast().at("/metadata/name").asText();
    KubernetesClientException refusal;
    if (documents.size() == 1) {
      refusal = refused("POST", "", documents.getFirst());
    } else {
      send("POST", "", documents.getFirst(), false);
      try {
        ObjectNode changed = documents.getLast().deepCopy();
        changed
            .withObject("/metadata")
            .put("resourceVersion", jobs().withName(name).get().getMetadata().getResourceVersion());
        refusal = refused("PUT", "/" + name, changed);
      } finally {
        jobs().withName(name).delete();
      }
    }
    assertThat(refusal.getCode()).isEqualTo(422);
    assertThat(refusal.getStatus().getDetails().getCauses())
        .singleElement()
        .extracting(StatusCause::getMessage)
        .asString()
        .endsWith(": " + expected);
  }

  @Test
  void aJobBecomesPodsAndTheirEndBecomesItsCompletion() {
    String name = "story";
    create(name);
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      await().until(() -> pods(name).size() == 2);
      await().until(() -> reason(name).equals("Starting"));
      assertThat(client.services().inNamespace("default").withName(name).get().getSpec())
          .satisfies(s -> assertThat(s.getClusterIP()).isEqualTo("None"));
      assertThat(configMaps(name).getFirst().getData()).containsKeys("run.json", "ranks.json");

      said = status(RunStatus.Phase.Training, 42);
      pods(name).forEach(pod -> setRunning(pod));
      await().until(() -> reason(name).equals("Training"));
      await().until(() -> jobs().withName(name).get().getStatus().attempt().formed());
      assertThat(jobs().withName(name).get().getStatus().progress().step()).isEqualTo(42);
      assertThat(row(name))
          .as("kubectl get -o wide")
          .containsEntry("Status", "Training")
          .containsEntry("Step", "42")
          .containsEntry("Of", jobs().withName(name).get().getSpec().steps().toString())
          .containsEntry("Loss", "2")
          .containsEntry("Restarts", "0")
          .containsEntry("Checkpoint", "null")
          .containsKeys("Tokens/s", "MaxQK", "Clipped", "Memory", "Age");

      said = null;
      setEnded(pods(name).getFirst(), 137);
      await().until(() -> pods(name).stream().allMatch(pod -> generation(pod).equals("2")));
      await().until(() -> pods(name).size() == 2);
      assertThat(jobs().withName(name).get().getStatus().restarts()).isEqualTo(1);
      await().until(() -> reason(name).equals("Starting"));

      pods(name).forEach(pod -> setEnded(pod, 0));
      await().until(() -> jobs().withName(name).get().getStatus().holds(ConditionType.Complete));
      await().until(() -> events(name).contains("Complete"));
      assertThat(events(name))
          .as("one for each transition")
          .containsExactlyInAnyOrder("Starting", "Training", "Restarting", "Starting", "Complete");
    } finally {
      remove(name);
    }
  }

  @Test
  void applyingTheSameManifestAgainChangesNothing() throws IOException {
    String name = "again";
    ObjectNode manifest = quickstart(name);
    apply(manifest);
    said = status(RunStatus.Phase.Training, 7);
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      await().until(() -> pods(name).size() == 2);
      pods(name).forEach(pod -> setRunning(pod));
      await().until(() -> reason(name).equals("Training"));
      await().until(() -> jobs().withName(name).get().getStatus().attempt().formed());
      Map<String, String> before = versions(name);
      await().during(Duration.ofSeconds(1)).until(() -> versions(name).equals(before));
      apply(manifest);
      await().during(Duration.ofSeconds(1)).until(() -> versions(name).equals(before));
      assertThat(jobs().withName(name).get().getMetadata().getGeneration()).isEqualTo(1);
    } finally {
      said = null;
      remove(name);
    }
  }

  @Test
  void aNameOfSixtyThreeCharactersCarriesAGangWithSparesAndALongerOneIsRefused()
      throws IOException {
    String name = "n".repeat(63);
    ObjectNode manifest = quickstart(name);
    manifest.withObject("/spec/scheduling").put("adapter", "None");
    manifest.withObject("/spec/failurePolicy").put("restart", "InPlace").put("spares", 1);
    send("POST", "", manifest, false);
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      await().until(() -> pods(name).size() == 3);
      assertThat(pods(name)).allMatch(pod -> pod.getMetadata().getName().length() <= 63);
      assertThat(configMaps(name)).hasSize(1);
      assertThat(client.services().inNamespace("default").withName(name).get()).isNotNull();
      pods(name).forEach(pod -> setRunning(pod));
      await().until(() -> configMaps(name).size() == 2); // with the peers' addresses
    } finally {
      remove(name);
    }
    assertThat(refused("POST", "", quickstart(name + "n")).getCode()).isEqualTo(422);
  }

  @Test
  void aJobThatIsDeletedWhileItRestartsGetsNoPodsAnyMore() throws IOException {
    String name = "deleted";
    ObjectNode manifest = quickstart(name);
    manifest.withObject("/spec/failurePolicy").put("backoffSeconds", 2);
    send("POST", "", manifest, false);
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      await().until(() -> pods(name).size() == 2);
      pods(name).forEach(pod -> setRunning(pod));
      await().until(() -> jobs().withName(name).get().getStatus().attempt().formed());
      setEnded(pods(name).getFirst(), 137);
      await().until(() -> reason(name).equals("BackingOff"));
      jobs().withName(name).delete();
      await().during(Duration.ofSeconds(4)).until(() -> pods(name).isEmpty());
    } finally {
      remove(name);
    }
  }

  @Test
  void anOperatorThatComesBackInMidRunWritesNothing() {
    String name = "calm";
    create(name);
    try {
      said = status(RunStatus.Phase.Training, 7);
      Map<String, String> before;
      try (OperatorRuntime first = operator()) {
        assertThat(first).isNotNull();
        await().until(() -> pods(name).size() == 2);
        pods(name).forEach(pod -> setRunning(pod));
        await().until(() -> reason(name).equals("Training"));
        await().until(() -> jobs().withName(name).get().getStatus().attempt().formed());
        before = versions(name);
        await().during(Duration.ofSeconds(1)).until(() -> versions(name).equals(before));
      }
      said = null; // its first question stays unanswered
      try (OperatorRuntime second = operator()) {
        assertThat(second).isNotNull();
        await().during(Duration.ofSeconds(2)).until(() -> versions(name).equals(before));
      }
    } finally {
      remove(name);
    }
  }

  private OperatorRuntime operator() {
    return OperatorRuntime.start(
        client,
        new OperatorOptions(
            Set.of("default"),
            "perigee-trainer:test",
            Duration.ofMillis(200),
            (host, port) -> Optional.ofNullable(said),
            Clock.systemUTC()));
  }

  private static io.fabric8.kubernetes.client.dsl.NonNamespaceOperation<
          PretrainJob,
          io.fabric8.kubernetes.api.model.KubernetesResourceList<PretrainJob>,
          io.fabric8.kubernetes.client.dsl.Resource<PretrainJob>>
      jobs() {
    return client.resources(PretrainJob.class).inNamespace("default");
  }

  private static void create(String name) {
    try {
      send("POST", "", quickstart(name), false);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Restarts without waiting. */
  private static ObjectNode quickstart(String name) throws IOException {
    ObjectNode job = documents(Path.of("..", "examples", "quickstart.yaml")).getLast().deepCopy();
    job.withObject("/metadata").put("name", name).put("namespace", "default");
    job.withObject("/spec/failurePolicy").put("backoffSeconds", 0);
    return job;
  }

  private static void apply(ObjectNode manifest) {
    client
        .resource(
            client
                .getKubernetesSerialization()
                .convertValue(manifest, GenericKubernetesResource.class))
        .fieldManager("kubectl")
        .serverSideApply();
  }

  /** Nobody collects garbage here. */
  private static void remove(String name) {
    jobs().withName(name).delete();
    client.pods().inNamespace("default").withLabel("perigee.dev/job", name).delete();
    client.services().inNamespace("default").withName(name).delete();
    client.configMaps().inNamespace("default").withLabel("perigee.dev/job", name).delete();
  }

  private static KubernetesClientException refused(String method, String path, JsonNode body) {
    try {
      send(method, path, body, true);
    } catch (KubernetesClientException e) {
      return e;
    }
    throw new AssertionError("accepted");
  }

  private static void send(String method, String path, JsonNode body, boolean dryRun) {
    client.raw(
        "/apis/perigee.dev/v1alpha1/namespaces/default/pretrainjobs"
            + path
            + "?fieldValidation=Strict"
            + (dryRun ? "&dryRun=All" : ""),
        method,
        body);
  }

  private static String reason(String job) {
    return Optional.ofNullable(jobs().withName(job).get().getStatus())
        .flatMap(s -> s.condition(ConditionType.Ready))
        .map(Condition::reason)
        .orElse("");
  }

  private static List<Pod> pods(String job) {
    return client.pods().inNamespace("default").withLabel("perigee.dev/job", job).list().getItems();
  }

  private static List<ConfigMap> configMaps(String job) {
    return client
        .configMaps()
        .inNamespace("default")
        .withLabel("perigee.dev/job", job)
        .list()
        .getItems();
  }

  private static List<String> events(String job) {
    return client.v1().events().inNamespace("default").list().getItems().stream()
        .filter(e -> e.getInvolvedObject().getName().equals(job))
        .map(Event::getReason)
        .toList();
  }

  private static String generation(Pod pod) {
    return pod.getMetadata().getLabels().get("perigee.dev/generation");
  }

  private static Map<String, String> versions(String job) {
    Map<String, String> versions = new TreeMap<>();
    Stream.<HasMetadata>concat(
            Stream.concat(pods(job).stream(), configMaps(job).stream()),
            Stream.of(
                jobs().withName(job).get(),
                client.services().inNamespace("default").withName(job).get()))
        .forEach(
            o ->
                versions.put(
                    o.getKind() + "/" + o.getMetadata().getName(),
                    o.getMetadata().getUid() + "@" + o.getMetadata().getResourceVersion()));
    return versions;
  }

  /** The cells of a job's line in a table, by the name of their column. */
  private static Map<String, String> row(String job) {
    var http = client.getHttpClient();
    var request =
        http.newHttpRequestBuilder()
            .uri(
                client.getMasterUrl()
                    + "apis/perigee.dev/v1alpha1/namespaces/default/pretrainjobs/"
                    + job)
            .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .build();
    JsonNode table =
        client
            .getKubernetesSerialization()
            .unmarshal(http.sendAsync(request, String.class).join().body(), JsonNode.class);
    Map<String, String> cells = new HashMap<>();
    for (int i = 0; i < table.path("columnDefinitions").size(); i++) {
      cells.put(
          table.path("columnDefinitions").path(i).path("name").asText(),
          table.path("rows").path(0).path("cells").path(i).asText());
    }
    return cells;
  }

  private static void setRunning(Pod pod) {
    client
        .resource(
            new PodBuilder(pod)
                .withNewStatus()
                .withPhase("Running")
                .withPodIP("10.0.0.1")
                .addNewPodIP("10.0.0.1")
                .addNewCondition()
                .withType("Ready")
                .withStatus("True")
                .endCondition()
                .addNewContainerStatus()
                .withName("trainer")
                .withImage("x")
                .withImageID("x")
                .withReady(true)
                .withRestartCount(0)
                .withNewState()
                .withNewRunning()
                .endRunning()
                .endState()
                .endContainerStatus()
                .endStatus()
                .build())
        .updateStatus();
  }

  private static void setEnded(Pod pod, int exitCode) {
    client
        .resource(
            new PodBuilder(pod)
                .withNewStatus()
                .withPhase(exitCode == 0 ? "Succeeded" : "Failed")
                .addNewContainerStatus()
                .withName("trainer")
                .withImage("x")
                .withImageID("x")
                .withReady(false)
                .withRestartCount(0)
                .withNewState()
                .withNewTerminated()
                .withExitCode(exitCode)
                .endTerminated()
                .endState()
                .endContainerStatus()
                .endStatus()
                .build())
        .updateStatus();
  }

  private static RunStatus status(RunStatus.Phase phase, long step) {
    return new RunStatus(
        phase, null, step, null, 100, step, 2.0, 1.0, 1e-3, 100.0, 5.0, 0, 1.0, null, null, null,
        0.5, 2.0, "d1", 0.1);
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
