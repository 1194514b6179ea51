package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.perigee.api.ConditionType;
import dev.perigee.operator.OperatorRuntime;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.OwnerReferenceBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.client.dsl.Resource;
import io.fabric8.kubernetes.client.dsl.base.ResourceDefinitionContext;
import java.io.IOException;
import java.time.Clock;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;

/**
 * What a job that is deleted leaves at Kueue when no kubelet says that its pods have ended. Kueue
 * is played: a Workload that belongs to the pods, and finalisers on both.
 */
@Isolated("Other tests have no Kueue.")
class OrphanedGroupIT {
  private static final Duration PATIENCE = Duration.ofMinutes(2);
  private static final ResourceDefinitionContext WORKLOAD =
      new ResourceDefinitionContext.Builder()
          .withGroup("kueue.x-k8s.io")
          .withVersion("v1beta2")
          .withKind("Workload")
          .withPlural("workloads")
          .withNamespaced(true)
          .build();
  private static final YAMLMapper YAML = new YAMLMapper();

  private static RealApi api;
  private static final List<CustomResourceDefinition> KUEUE = new ArrayList<>();

  @BeforeAll
  static void start() throws IOException {
    api = RealApi.orSkip();
    for (String kind : List.of("Workload", "LocalQueue")) {
      CustomResourceDefinition crd =
          YAML.readValue(definition(kind), CustomResourceDefinition.class);
      KUEUE.add(crd);
      api.client().resource(crd).serverSideApply();
    }
    await()
        .atMost(PATIENCE)
        .until(
            () ->
                Optional.ofNullable(api.client().getApiResources("kueue.x-k8s.io/v1beta2"))
                    .filter(served -> served.getResources().size() == 2)
                    .isPresent());
  }

  /** Other tests have no Kueue. */
  @AfterAll
  static void stop() {
    KUEUE.forEach(crd -> api.client().resource(crd).delete());
  }

  @Test
  void theWorkloadOfADeletedJobIsGivenBackAlsoWhenTheOperatorWasAway() throws IOException {
    String namespace = api.namespace("orphans");
    PodPlay play = new PodPlay(api.client());
    try (OperatorRuntime operator = operator(namespace)) {
      assertThat(operator).isNotNull();
      startAdmitted(namespace, play);
    }
    api.client().resource(api.job(namespace, "demo")).delete();
    // The garbage collector's part. No kubelet answers, so the pods stay.
    play.pods(namespace, "demo").forEach(play::letGo);
    assertThat(play.pods(namespace, "demo")).hasSize(2);
    try (OperatorRuntime operator = operator(namespace)) {
      assertThat(operator).isNotNull();
      await()
          .atMost(PATIENCE)
          .until(() -> workload(namespace).get().getMetadata().getDeletionTimestamp() != null);
    } finally {
      workload(namespace).edit(PodPlay::freed);
    }
  }

  @Test
  void theWorkloadOfAJobThatFailedIsGivenBackWhenAPodOfItIsKept() throws IOException {
    String namespace = api.namespace("over");
    PodPlay play = new PodPlay(api.client());
    try (OperatorRuntime operator = operator(namespace)) {
      assertThat(operator).isNotNull();
      startAdmitted(namespace, play);
      play.pods(namespace, "demo").forEach(play::run);
      play.end(play.pods(namespace, "demo").getFirst(), 64);
      await()
          .atMost(PATIENCE)
          .until(() -> workload(namespace).get().getMetadata().getDeletionTimestamp() != null);
      assertThat(api.job(namespace, "demo").getStatus().holds(ConditionType.Failed)).isTrue();
    } finally {
      workload(namespace).edit(PodPlay::freed);
    }
  }

  private static OperatorRuntime operator(String namespace) {
    return OperatorRuntime.start(
        api.client(),
        RealApi.options(namespace, (host, port) -> Optional.empty(), Clock.systemUTC()));
  }

  private static void startAdmitted(String namespace, PodPlay play) throws IOException {
    api.createJob(
        namespace,
        "demo",
        job -> job.withObject("/spec/scheduling").put("adapter", "Kueue").put("queue", "main"));
    await().atMost(PATIENCE).until(() -> play.pods(namespace, "demo").size() == 2);
    admit(namespace, play);
  }

  /** What Kueue does to a gang that it lets in. */
  private static void admit(String namespace, PodPlay play) throws IOException {
    GenericKubernetesResource workload =
        YAML.readValue(
            """
            apiVersion: kueue.x-k8s.io/v1beta2
            kind: Workload
            metadata: {name: demo-attempt-1, finalizers: [kueue.x-k8s.io/resource-in-use]}
            """,
            GenericKubernetesResource.class);
    workload.getMetadata().setNamespace(namespace);
    for (Pod pod : play.pods(namespace, "demo")) {
      Pod admitted =
          api.client()
              .resource(
                  new PodBuilder(pod)
                      .editMetadata()
                      .addToFinalizers("kueue.x-k8s.io/managed")
                      .endMetadata()
                      .editSpec()
                      .withSchedulingGates()
                      .endSpec()
                      .build())
              .update();
      play.bind(admitted);
      workload
          .getMetadata()
          .getOwnerReferences()
          .add(
              new OwnerReferenceBuilder()
                  .withApiVersion("v1")
                  .withKind("Pod")
                  .withName(pod.getMetadata().getName())
                  .withUid(pod.getMetadata().getUid())
                  .build());
    }
    api.client()
        .genericKubernetesResources(WORKLOAD)
        .inNamespace(namespace)
        .resource(workload)
        .create();
  }

  private static Resource<GenericKubernetesResource> workload(String namespace) {
    return api.client()
        .genericKubernetesResources(WORKLOAD)
        .inNamespace(namespace)
        .withName("demo-attempt-1");
  }

  private static String definition(String kind) {
    String plural = kind.toLowerCase(java.util.Locale.ROOT) + "s";
    return """
        apiVersion: apiextensions.k8s.io/v1
        kind: CustomResourceDefinition
        metadata: {name: %s.kueue.x-k8s.io}
        spec:
          group: kueue.x-k8s.io
          scope: Namespaced
          names: {kind: %s, plural: %s}
          versions:
          - name: v1beta2
            served: true
            storage: true
            schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
        """
        .formatted(plural, kind, plural);
  }
}
