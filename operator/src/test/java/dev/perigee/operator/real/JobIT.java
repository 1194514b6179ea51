package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.operator.OperatorRuntime;
import dev.perigee.run.RunStatus;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Event;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.time.Clock;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What one job's objects are on a real API server: what is made, said, kept and left alone. */
class JobIT {
  private static RealApi api;

  private final PodPlay play = new PodPlay(api.client());
  private final String namespace = api.namespace("job");

  /** What rank 0 says, for the operator's probe. */
  private volatile RunStatus said;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  @Test
  void aJobBecomesPodsAndTheirEndBecomesItsCompletion() {
    String name = "story";
    // A cluster that has no kind of its own for gangs gives it no PodGroup.
    api.createJob(
        namespace,
        name,
        job -> {
          job.withObject("/spec/failurePolicy").put("backoffSeconds", 0);
          job.withObject("/spec/scheduling").put("adapter", "None");
        });
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      await().until(() -> pods(name).size() == 2);
      await().until(() -> reason(name).equals("Starting"));
      assertThat(service(name).getSpec().getClusterIP()).isEqualTo("None");
      assertThat(configMaps(name).getFirst().getData()).containsKeys("run.json", "ranks.json");

      said = Story.training();
      pods(name).forEach(play::run);
      await().until(() -> reason(name).equals("Training"));
      await().until(() -> formed(name));
      assertThat(api.job(namespace, name).getStatus().progress().step()).isEqualTo(7);
      assertThat(row(name))
          .as("kubectl get -o wide")
          .containsEntry("Status", "Training")
          .containsEntry("Step", "7")
          .containsEntry("Of", api.job(namespace, name).getSpec().steps().toString())
          .containsEntry("Loss", "2")
          .containsEntry("Restarts", "0")
          .containsEntry("Checkpoint", "null")
          .containsKeys("Tokens/s", "MaxQK", "Clipped", "Memory", "Age");

      said = null;
      play.end(pods(name).getFirst(), 137);
      await()
          .until(
              () ->
                  pods(name).size() == 2
                      && pods(name).stream().allMatch(pod -> generation(pod).equals("2")));
      assertThat(api.job(namespace, name).getStatus().restarts()).isEqualTo(1);
      await().until(() -> reason(name).equals("Starting"));

      pods(name).forEach(pod -> play.end(pod, 0));
      await().until(() -> api.job(namespace, name).getStatus().holds(ConditionType.Complete));
      await().until(() -> events(name).contains("Complete"));
      assertThat(events(name))
          .as("one for each transition")
          .containsExactlyInAnyOrder("Starting", "Training", "Restarting", "Starting", "Complete");
    }
  }

  @Test
  void applyingTheSameManifestAgainChangesNothing() {
    String name = "again";
    ObjectNode manifest = (ObjectNode) RealApi.example();
    manifest.withObject("/metadata").put("name", name).put("namespace", namespace);
    apply(manifest);
    said = Story.training();
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      Map<String, String> before = untilItTrains(name);
      await().during(Duration.ofSeconds(1)).until(() -> versions(name).equals(before));
      apply(manifest);
      await().during(Duration.ofSeconds(1)).until(() -> versions(name).equals(before));
      assertThat(api.job(namespace, name).getMetadata().getGeneration()).isEqualTo(1);
    }
  }

  @Test
  void anOperatorThatComesBackInMidRunWritesNothing() {
    String name = "calm";
    api.createJob(namespace, name);
    said = Story.training();
    Map<String, String> before;
    try (OperatorRuntime first = operator()) {
      assertThat(first).isNotNull();
      before = untilItTrains(name);
      await().during(Duration.ofSeconds(1)).until(() -> versions(name).equals(before));
    }
    said = null; // its first question stays unanswered
    try (OperatorRuntime second = operator()) {
      assertThat(second).isNotNull();
      await().during(Duration.ofSeconds(2)).until(() -> versions(name).equals(before));
    }
  }

  @Test
  void aNameOfSixtyThreeCharactersCarriesAGangWithSparesAndALongerOneIsRefused() {
    String name = "n".repeat(63);
    api.createJob(
        namespace,
        name,
        job -> {
          job.withObject("/spec/scheduling").put("adapter", "None");
          job.withObject("/spec/failurePolicy").put("restart", "InPlace").put("spares", 1);
        });
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      await().until(() -> pods(name).size() == 3);
      assertThat(pods(name)).allMatch(pod -> pod.getMetadata().getName().length() <= 63);
      assertThat(configMaps(name)).hasSize(1);
      assertThat(service(name)).isNotNull();
      pods(name).forEach(play::run);
      await().until(() -> configMaps(name).size() == 2); // with the peers' addresses
    }
    assertThatThrownBy(() -> api.createJob(namespace, name + "n"))
        .isInstanceOfSatisfying(
            KubernetesClientException.class, e -> assertThat(e.getCode()).isEqualTo(422));
  }

  @Test
  void aJobThatIsDeletedWhileItRestartsGetsNoPodsAnyMore() {
    String name = "deleted";
    api.createJob(namespace, name, 2);
    try (OperatorRuntime operator = operator()) {
      assertThat(operator).isNotNull();
      await().until(() -> pods(name).size() == 2);
      pods(name).forEach(play::run);
      await().until(() -> formed(name));
      play.end(pods(name).getFirst(), 137);
      await().until(() -> reason(name).equals("BackingOff"));
      api.client().resource(api.job(namespace, name)).delete();
      await().during(Duration.ofSeconds(4)).until(() -> pods(name).isEmpty());
    }
  }

  private OperatorRuntime operator() {
    return OperatorRuntime.start(
        api.client(),
        RealApi.options(namespace, (host, port) -> Optional.ofNullable(said), Clock.systemUTC()));
  }

  /** Plays a job of two pods until it trains; the versions of its objects then. */
  private Map<String, String> untilItTrains(String name) {
    await().until(() -> pods(name).size() == 2);
    pods(name).forEach(play::run);
    await().until(() -> reason(name).equals("Training"));
    await().until(() -> formed(name));
    return versions(name);
  }

  private void apply(ObjectNode manifest) {
    api.client()
        .resource(
            api.client()
                .getKubernetesSerialization()
                .convertValue(manifest, GenericKubernetesResource.class))
        .fieldManager("kubectl")
        .serverSideApply();
  }

  private String reason(String job) {
    return Optional.ofNullable(api.job(namespace, job).getStatus())
        .flatMap(s -> s.condition(ConditionType.Ready))
        .map(Condition::reason)
        .orElse("");
  }

  private boolean formed(String job) {
    return api.job(namespace, job).getStatus().attempt().formed();
  }

  private List<Pod> pods(String job) {
    return play.pods(namespace, job);
  }

  private Service service(String job) {
    return api.client().services().inNamespace(namespace).withName(job).get();
  }

  private List<ConfigMap> configMaps(String job) {
    return api.client()
        .configMaps()
        .inNamespace(namespace)
        .withLabel("perigee.dev/job", job)
        .list()
        .getItems();
  }

  private List<String> events(String job) {
    return api.client().v1().events().inNamespace(namespace).list().getItems().stream()
        .filter(e -> e.getInvolvedObject().getName().equals(job))
        .map(Event::getReason)
        .toList();
  }

  private static String generation(Pod pod) {
    return pod.getMetadata().getLabels().get("perigee.dev/generation");
  }

  private Map<String, String> versions(String job) {
    Map<String, String> versions = new TreeMap<>();
    Stream.<HasMetadata>concat(
            Stream.concat(pods(job).stream(), configMaps(job).stream()),
            Stream.of(api.job(namespace, job), service(job)))
        .forEach(
            o ->
                versions.put(
                    o.getKind() + "/" + o.getMetadata().getName(),
                    o.getMetadata().getUid() + "@" + o.getMetadata().getResourceVersion()));
    return versions;
  }

  /** The cells of a job's line in a table, by the name of their column. */
  private Map<String, String> row(String job) {
    var http = api.client().getHttpClient();
    var request =
        http.newHttpRequestBuilder()
            .uri(
                api.client().getMasterUrl()
                    + "apis/perigee.dev/v1alpha1/namespaces/"
                    + namespace
                    + "/pretrainjobs/"
                    + job)
            .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .build();
    JsonNode table =
        api.client()
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
}
