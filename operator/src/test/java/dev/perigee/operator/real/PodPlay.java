package dev.perigee.operator.real;

import static org.awaitility.Awaitility.await;

import dev.perigee.api.PretrainJob;
import io.fabric8.kubernetes.api.model.BindingBuilder;
import io.fabric8.kubernetes.api.model.EventBuilder;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.PodStatusBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.net.HttpURLConnection;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;

/** What a kubelet does to the status of pods, done by a test. */
final class PodPlay {
  private final KubernetesClient client;

  PodPlay(KubernetesClient client) {
    this.client = client;
  }

  /** The pods of a job. */
  List<Pod> pods(String namespace, String job) {
    return client.pods().inNamespace(namespace).withLabel("perigee.dev/job", job).list().getItems();
  }

  /** A scheduler gives it to the node. */
  void bind(Pod pod) {
    unlessGone(
        () ->
            client.raw(
                "/api/v1/namespaces/%s/pods/%s/binding"
                    .formatted(pod.getMetadata().getNamespace(), pod.getMetadata().getName()),
                "POST",
                new BindingBuilder()
                    .withNewMetadata()
                    .withName(pod.getMetadata().getName())
                    .withUid(pod.getMetadata().getUid())
                    .endMetadata()
                    .withNewTarget()
                    .withKind("Node")
                    .withName(RealApi.NODE)
                    .endTarget()
                    .build()));
  }

  /** The scheduler finds no node for it. */
  void refuse(Pod pod, String message) {
    set(
        pod,
        new PodStatusBuilder()
            .withPhase("Pending")
            .addNewCondition()
            .withType("PodScheduled")
            .withStatus("False")
            .withReason("Unschedulable")
            .withMessage(message)
            .endCondition());
  }

  /** The kubelet does not get its image. */
  void failToPull(Pod pod) {
    set(
        pod,
        status("Pending")
            .editFirstContainerStatus()
            .withNewState()
            .withNewWaiting()
            .withReason("ImagePullBackOff")
            .withMessage("Back-off pulling image")
            .endWaiting()
            .endState()
            .endContainerStatus());
  }

  /** The kubelet complains of it, and writes that to an Event only. */
  void warn(Pod pod, String reason, String message) {
    String now = Instant.now().truncatedTo(ChronoUnit.SECONDS).toString();
    client
        .v1()
        .events()
        .inNamespace(pod.getMetadata().getNamespace())
        .resource(
            new EventBuilder()
                .withNewMetadata()
                .withGenerateName(pod.getMetadata().getName() + ".")
                .endMetadata()
                .withNewInvolvedObject()
                .withApiVersion("v1")
                .withKind("Pod")
                .withNamespace(pod.getMetadata().getNamespace())
                .withName(pod.getMetadata().getName())
                .withUid(pod.getMetadata().getUid())
                .endInvolvedObject()
                .withType("Warning")
                .withReason(reason)
                .withMessage(message)
                .withFirstTimestamp(now)
                .withLastTimestamp(now)
                .withCount(1)
                .build())
        .create();
  }

  /** The two pods of a job get a node and run, and the operator has seen them do so. */
  void runGang(String namespace, String job) {
    await().until(() -> pods(namespace, job).size() == 2);
    pods(namespace, job).forEach(this::bind);
    pods(namespace, job).forEach(this::run);
    var watched = client.resources(PretrainJob.class).inNamespace(namespace).withName(job);
    await().until(() -> Boolean.TRUE.equals(watched.get().getStatus().attempt().formed()));
  }

  /** An object without what keeps it, as its controller leaves it in the end. */
  static GenericKubernetesResource freed(GenericKubernetesResource held) {
    held.getMetadata().setFinalizers(List.of());
    return held;
  }

  /** Its kubelet turns it away. */
  void reject(Pod pod, String reason, String message) {
    set(pod, new PodStatusBuilder().withPhase("Failed").withReason(reason).withMessage(message));
  }

  /** It has been stopped, and the kubelet lets it go. */
  void letGo(Pod pod) {
    unlessGone(() -> client.resource(pod).withGracePeriod(0).delete());
  }

  /** It runs and is ready. */
  void run(Pod pod) {
    PodStatusBuilder status =
        status("Running")
            .withPodIP("10.0.0.1")
            .addNewPodIP("10.0.0.1")
            .addNewCondition()
            .withType("Ready")
            .withStatus("True")
            .endCondition();
    set(
        pod,
        status
            .editFirstContainerStatus()
            .withReady(true)
            .withNewState()
            .withNewRunning()
            .endRunning()
            .endState()
            .endContainerStatus());
  }

  /** Its program ended. */
  void end(Pod pod, int exitCode) {
    end(pod, exitCode, null);
  }

  /** Its program ended with these last words. */
  void end(Pod pod, int exitCode, String message) {
    set(
        pod,
        status(exitCode == 0 ? "Succeeded" : "Failed")
            .editFirstContainerStatus()
            .withNewState()
            .withNewTerminated()
            .withExitCode(exitCode)
            .withMessage(message)
            .withFinishedAt(Instant.now().truncatedTo(ChronoUnit.SECONDS).toString())
            .endTerminated()
            .endState()
            .endContainerStatus());
  }

  /** Somebody deletes it. */
  void delete(Pod pod) {
    client.resource(pod).delete();
  }

  private static PodStatusBuilder status(String phase) {
    return new PodStatusBuilder()
        .withPhase(phase)
        .addNewContainerStatus()
        .withName("trainer")
        .withImage("x")
        .withImageID("x")
        .withReady(false)
        .withRestartCount(0)
        .endContainerStatus();
  }

  private void set(Pod pod, PodStatusBuilder status) {
    unlessGone(
        () ->
            client.resource(new PodBuilder(pod).withStatus(status.build()).build()).updateStatus());
  }

  /** A pod that is gone, or was touched meanwhile, is left for the next look. */
  private static void unlessGone(Runnable write) {
    try {
      write.run();
    } catch (KubernetesClientException e) {
      if (e.getCode() != HttpURLConnection.HTTP_NOT_FOUND
          && e.getCode() != HttpURLConnection.HTTP_CONFLICT) {
        throw e;
      }
    }
  }
}
