package dev.perigee.operator.gang;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.GangAttempt;
import dev.perigee.operator.BrokenClient;
import io.fabric8.kubernetes.api.model.Event;
import io.fabric8.kubernetes.api.model.EventBuilder;
import io.fabric8.kubernetes.api.model.MicroTime;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.vertx.core.VertxException;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class StartTroubleTest {
  private static Event event(int second, String reason, String message) {
    return new EventBuilder()
        .withNewMetadata()
        .withCreationTimestamp("2026-01-01T00:00:00Z")
        .endMetadata()
        .withReason(reason)
        .withMessage(message)
        .withLastTimestamp("2026-01-01T00:00:%02dZ".formatted(second))
        .build();
  }

  /** The scheduler writes the newer kind, which has its time elsewhere. */
  private static Event scheduled() {
    return new EventBuilder(event(0, "Scheduled", "Successfully assigned"))
        .withLastTimestamp(null)
        .withEventTime(new MicroTime("2026-01-01T00:00:01.123456Z"))
        .build();
  }

  /** As containerd 2.1 and the kubelet wrote them for a runtime class without a handler. */
  @Test
  void aRuntimeThatTheNodeLacksIsSaid() {
    assertThat(
            StartTrouble.of(
                List.of(
                    scheduled(),
                    event(
                        2,
                        "FailedCreatePodSandBox",
                        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to"
                            + " get sandbox runtime: no runtime for \"nope\" is configured"))))
        .contains(
            "FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc ="
                + " failed to get sandbox runtime: no runtime for \"nope\" is configured");
  }

  @Test
  void theNameOfASandboxIsLeftOutBecauseEachTryHasAnother() {
    assertThat(
            StartTrouble.of(
                List.of(
                    event(
                        2,
                        "FailedCreatePodSandBox",
                        "failed to setup network for sandbox \""
                            + "0123456789abcdef".repeat(4)
                            + "\": no\n addresses"))))
        .contains("FailedCreatePodSandBox: failed to setup network for sandbox: no addresses");
  }

  @Test
  void theLatestComplaintCountsButTheReasonBeforeTheSummary() {
    Event first = event(2, "FailedMount", "configmap \"a\" not found");
    Event second = event(3, "FailedMount", "secret \"b\" not found");
    Event summary = event(9, "FailedMount", "Unable to attach or mount volumes: [b]: timed out");
    assertThat(StartTrouble.of(List.of(second, summary, first)))
        .contains("FailedMount: secret \"b\" not found");
    assertThat(StartTrouble.of(List.of(summary)))
        .contains("FailedMount: Unable to attach or mount volumes: [b]: timed out");
  }

  @ParameterizedTest
  @ValueSource(strings = {"Pulling", "Pulled", "Created", "Started"})
  void whatIsOverIsNotSaid(String reason) {
    assertThat(
            StartTrouble.of(
                List.of(
                    event(2, "FailedMount", "not yet"), event(2, reason, "the kubelet goes on"))))
        .isEmpty();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"FailedScheduling", "FailedToRetrieveImagePullSecret", "MissingClusterDNS"})
  void whatAPodStartsInSpiteOfIsNotSaid(String reason) {
    assertThat(StartTrouble.of(List.of(event(2, reason, "never mind")))).isEmpty();
  }

  @Test
  void eventsWithoutWordsOrTimesAreNoTrouble() {
    assertThat(StartTrouble.of(List.of())).isEmpty();
    assertThat(
            StartTrouble.of(
                List.of(
                    new EventBuilder().withNewMetadata().endMetadata().build(),
                    event(2, "FailedMount", null))))
        .isEmpty();
    assertThat(StartTrouble.of(List.of(event(2, "FailedMount", "x".repeat(9999)))).orElseThrow())
        .hasSizeLessThan(700);
  }

  /** The client throws what its connection throws, too. */
  @Test
  void eventsThatCannotBeReadHoldNothingUp() {
    Pod pod =
        new PodBuilder()
            .withNewMetadata()
            .withName("demo-0")
            .withUid("uid-0")
            .addToLabels(GangLabels.POD_INDEX, "0")
            .addToLabels(GangLabels.GENERATION, "1")
            .addToLabels(GangLabels.SIZE, "1")
            .endMetadata()
            .withNewSpec()
            .withNodeName("node")
            .endSpec()
            .withNewStatus()
            .withPhase("Pending")
            .endStatus()
            .build();
    ObservedGang observed =
        new ObservedGang(Optional.empty(), Optional.empty(), List.of(), List.of(PodState.of(pod)));
    GangAttempt start =
        new GangAttempt(1, true, null, GangAttempt.Phase.ImagePull, "2026-01-01T00:00:00Z");
    for (RuntimeException thrown :
        List.of(
            new KubernetesClientException("no answer"),
            new VertxException("Connection was closed"),
            new IllegalArgumentException("not a list"))) {
      assertThat(
              new StartTrouble()
                  .read(
                      BrokenClient.of(thrown),
                      "team",
                      observed,
                      Optional.of(start),
                      Instant.parse("2026-01-01T00:01:00Z")))
          .isEqualTo(observed);
    }
  }
}
