package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.operator.OperatorRuntime;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import java.time.Clock;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What may be asked of a job, when, and of whom, on a real API server. */
class SpecIT {
  private static RealApi api;

  private final PodPlay play = new PodPlay(api.client());
  private final String namespace = api.namespace("spec");

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  private OperatorRuntime operator() {
    return OperatorRuntime.start(
        api.client(),
        RealApi.options(
            namespace, (host, port) -> Optional.of(Story.training()), Clock.systemUTC()));
  }

  @Test
  void aSuspendedJobIsChangedAndResumedInOneRequestAndARunningOneIsNot() {
    api.createJob(namespace, "job", job -> job.withObject("/spec").put("suspend", true));
    try (OperatorRuntime operator = operator()) {
      assertThat(operator.notReady()).isEmpty();
      await().until(() -> holds("job", ConditionType.Suspended));
      assertThat(play.pods(namespace, "job")).isEmpty();
      patch(
          "job",
          """
          {"spec": {"suspend": false, "parallelism": {"data": 4, "expert": 4, "ranksPerPod": 1},
           "podOverrides": {"nodeSelector": {"pool": "gpus"}}, "scheduling": {"adapter": "None"}}}
          """);
      await().until(() -> play.pods(namespace, "job").size() == 4);
      assertThat(play.pods(namespace, "job"))
          .allMatch(pod -> pod.getSpec().getNodeSelector().get("pool").equals("gpus"));
      for (String change :
          new String[] {
            "\"parallelism\": {\"ranksPerPod\": 2}",
            "\"podOverrides\": {\"nodeSelector\": {\"pool\": \"cpus\"}}",
            "\"image\": \"other\"",
            "\"steps\": 7",
            // The old value of suspend counts: this lets nothing through.
            "\"suspend\": true, \"parallelism\": {\"ranksPerPod\": 2}"
          }) {
        assertThatThrownBy(() -> patch("job", "{\"spec\": {" + change + "}}"))
            .as(change)
            .isInstanceOfSatisfying(
                KubernetesClientException.class, e -> assertThat(e.getCode()).isEqualTo(422))
            .hasMessageContaining("suspend");
      }
      assertThatThrownBy(() -> patch("job", "{\"spec\": {\"seed\": 99}}"))
          .hasMessageContaining("seed")
          .hasMessageContaining("create");
    }
  }

  @Test
  void aJobOfAnotherControllerIsLeftAloneAndStaysItsOwn() {
    api.createJob(
        namespace, "theirs", job -> job.withObject("/spec").put("managedBy", "example.com/other"));
    api.createJob(
        namespace, "ours", job -> job.withObject("/spec").put("managedBy", "perigee.dev/operator"));
    String version = api.job(namespace, "theirs").getMetadata().getResourceVersion();
    try (OperatorRuntime operator = operator()) {
      assertThat(operator.notReady()).isEmpty();
      await().until(() -> play.pods(namespace, "ours").size() == 2);
      await().during(Duration.ofSeconds(1)).until(() -> play.pods(namespace, "theirs").isEmpty());
      assertThat(api.job(namespace, "theirs").getMetadata().getResourceVersion())
          .isEqualTo(version);
    }
    assertThatThrownBy(() -> patch("theirs", "{\"spec\": {\"managedBy\": null}}"))
        .hasMessageContaining("managedBy");
  }

  @Test
  void anEndedJobIsDeletedWhenItsTimeIsOverAndNotBefore() throws InterruptedException {
    api.createJob(
        namespace, "brief", job -> job.withObject("/spec").put("ttlSecondsAfterFinished", 3));
    try (OperatorRuntime operator = operator()) {
      assertThat(operator.notReady()).isEmpty();
      await().until(() -> play.pods(namespace, "brief").size() == 2);
      play.pods(namespace, "brief").forEach(play::bind);
      play.pods(namespace, "brief").forEach(play::run);
      play.pods(namespace, "brief").forEach(pod -> play.end(pod, 0));
      // As kubectl wait does.
      assertThat(
              api.client()
                  .resources(PretrainJob.class)
                  .inNamespace(namespace)
                  .withName("brief")
                  .waitUntilCondition(
                      job ->
                          job != null
                              && job.getStatus() != null
                              && job.getStatus().holds(ConditionType.Complete),
                      20,
                      TimeUnit.SECONDS))
          .isNotNull();
      Thread.sleep(1000);
      assertThat(api.job(namespace, "brief")).as("after a second").isNotNull();
      await().until(() -> api.job(namespace, "brief") == null);
    }
  }

  @Test
  void aDryRunOfServerSideApplySaysWhatWouldBeAndKeepsNothing() {
    ObjectNode manifest = (ObjectNode) RealApi.example();
    manifest.withObject("/metadata").put("name", "dry");
    JsonNode answer =
        api.client()
            .getKubernetesSerialization()
            .unmarshal(
                api.client()
                    .raw(
                        "/apis/perigee.dev/v1alpha1/namespaces/"
                            + namespace
                            + "/pretrainjobs?dryRun=All&fieldValidation=Strict",
                        "POST",
                        manifest),
                JsonNode.class);
    assertThat(answer.at("/spec/failurePolicy/maxRestarts").isInt()).as("a default").isTrue();
    assertThat(api.job(namespace, "dry")).isNull();
    ObjectNode wrong = manifest.deepCopy();
    wrong.withObject("/spec/parallelism").put("data", 6).put("expert", 4);
    assertThatThrownBy(
            () ->
                api.client()
                    .raw(
                        "/apis/perigee.dev/v1alpha1/namespaces/"
                            + namespace
                            + "/pretrainjobs?dryRun=All",
                        "POST",
                        wrong))
        .hasMessageContaining("parallelism.expert: 4 does not divide");
  }

  private boolean holds(String name, ConditionType type) {
    PretrainJob job = api.job(namespace, name);
    return job.getStatus() != null && job.getStatus().holds(type);
  }

  private void patch(String name, String merge) {
    api.client()
        .resource(api.job(namespace, name))
        .patch(PatchContext.of(PatchType.JSON_MERGE), merge);
  }
}
