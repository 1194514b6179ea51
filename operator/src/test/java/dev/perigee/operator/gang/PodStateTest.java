package dev.perigee.operator.gang;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.FailurePolicy.PodReason;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import java.time.Instant;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PodStateTest {
  private static final Pod NEW =
      new PodBuilder().withNewMetadata().withName("demo-0").endMetadata().build();

  @Test
  void aPodWithoutStatusOrLabelsIsPendingAndNobodys() {
    PodState state = PodState.of(NEW);
    assertThat(state.phase()).isEqualTo(PodState.Phase.Pending);
    assertThat(state.index()).isEqualTo(-1);
    assertThat(state.generation()).isEqualTo(-1);
    assertThat(state.ended()).isFalse();
  }

  @Test
  void theContainersEndCountsBeforeThePodsPhase() {
    PodState state = PodState.of(GangTest.ended(NEW, 69));
    assertThat(state.phase()).isEqualTo(PodState.Phase.Failed);
    assertThat(state.end().exitCode()).isEqualTo(69);
    assertThat(state.end().message()).isEqualTo("said");
    assertThat(state.end().at()).isEqualTo(Instant.parse("2026-01-01T00:00:00Z"));
    assertThat(PodState.of(GangTest.ended(NEW, 0)).phase()).isEqualTo(PodState.Phase.Succeeded);
  }

  /** As containerd, and the kubelet, say it after a reboot. */
  @ParameterizedTest
  @CsvSource({"255, Unknown", "137, ContainerStatusUnknown"})
  void aProgramThatIsGoneWithItsNodesLastLifeDidNotEndByItself(int exitCode, String reason) {
    Pod pod =
        new PodBuilder(GangTest.ended(NEW, exitCode))
            .editOrNewSpec()
            .withNodeName("n1")
            .endSpec()
            .editStatus()
            .editFirstContainerStatus()
            .editState()
            .editTerminated()
            .withReason(reason)
            .endTerminated()
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    PodState state = PodState.of(pod);
    assertThat(state.phase()).isEqualTo(PodState.Phase.Failed);
    assertThat(state.end().reason()).isEqualTo(PodReason.NodeLost);
    assertThat(state.end().exitCode()).isNull();
    assertThat(state.end().message())
        .isEqualTo("node n1 was started anew, and nobody saw the program end");
  }

  /** A kubelet orders containers by name: what a mesh adds to a pod may come first. */
  @Test
  void aContainerThatSomebodyElseAddedIsNotTheProgram() {
    Pod pod =
        new PodBuilder(NEW)
            .withNewStatus()
            .withPhase("Running")
            .addNewContainerStatus()
            .withName("istio-proxy")
            .withRestartCount(3)
            .withNewState()
            .withNewRunning()
            .endRunning()
            .endState()
            .endContainerStatus()
            .addNewContainerStatus()
            .withName(PodState.CONTAINER)
            .withRestartCount(0)
            .withNewState()
            .withNewTerminated()
            .withExitCode(71)
            .endTerminated()
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    PodState state = PodState.of(pod);
    assertThat(state.phase()).isEqualTo(PodState.Phase.Failed);
    assertThat(state.end().exitCode()).isEqualTo(71);
    assertThat(state.container().restarts()).isZero();
  }

  @ParameterizedTest
  @CsvSource({"69, Running, true", "69, Failed, false", "137, Running, false"})
  void aContainerWhoseRulesStartItAgainReturns(int code, String phase, boolean returns) {
    Pod ended = GangTest.ended(NEW, code);
    Pod pod =
        new PodBuilder(ended)
            .withNewSpec()
            .addNewContainer()
            .addNewRestartPolicyRule()
            .withAction("Restart")
            .withNewExitCodes()
            .withOperator("In")
            .withValues(69, 75)
            .endExitCodes()
            .endRestartPolicyRule()
            .endContainer()
            .endSpec()
            .editStatus()
            .withPhase(phase)
            .endStatus()
            .build();
    assertThat(PodState.of(pod).container().returns()).isEqualTo(returns);
    Pod withoutRules = new PodBuilder(ended).editStatus().withPhase(phase).endStatus().build();
    assertThat(PodState.of(withoutRules).container().returns()).isFalse();
  }

  @ParameterizedTest
  @CsvSource({
    "ContainerCreating,,",
    "PodInitializing,,",
    "CrashLoopBackOff, back-off 10s restarting failed container,",
    "ErrImageNeverPull,, ErrImageNeverPull",
    "CreateContainerConfigError, no user, CreateContainerConfigError: no user"
  })
  void aContainerThatCannotStartSaysWhy(String reason, String message, String trouble) {
    Pod pod =
        new PodBuilder(NEW)
            .withNewStatus()
            .addNewContainerStatus()
            .withNewState()
            .withNewWaiting(message, reason)
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    assertThat(PodState.of(pod).container().waiting()).isEqualTo(reason);
    assertThat(PodState.of(pod).container().trouble()).isEqualTo(trouble);
  }

  @ParameterizedTest
  @CsvSource({
    "PreemptionByScheduler, Preempted",
    "DeletionByTaintManager, NodeLost",
    "DeletionByPodGC, NodeLost",
    "EvictionByEvictionAPI, Evicted",
    "TerminationByKubelet, Evicted"
  })
  void aDisruptionIsToldByItsCondition(String reason, PodReason expected) {
    Pod pod =
        new PodBuilder(NEW)
            .withNewStatus()
            .withPhase("Failed")
            .addNewCondition()
            .withType("DisruptionTarget")
            .withStatus("True")
            .withReason(reason)
            .endCondition()
            .endStatus()
            .build();
    assertThat(PodState.of(pod).end().reason()).isEqualTo(expected);
  }

  /** Reasons and messages as kubelets write them; the words of others are not known beforehand. */
  @ParameterizedTest
  @CsvSource({
    "UnexpectedAdmissionError, Pod was rejected: Allocate failed due to no healthy devices present",
    "OutOfnvidia.com/gpu, 'Pod was rejected: Node didn''t have enough resource: nvidia.com/gpu'",
    "NodeAffinity, Pod was rejected: Predicate NodeAffinity failed",
    "NodeShutdown, Pod was rejected as the node is shutting down.",
    "Evicted, Pod was rejected: The node had condition: [DiskPressure].",
    "TopologyAffinityError, Pod was rejected: Resources cannot be allocated"
  })
  void aPodThatItsNodeTurnsAwayWasRejected(String reason, String message) {
    PodState state = PodState.of(failed(reason, message).build());
    assertThat(state.end().reason()).isEqualTo(PodReason.Rejected);
    assertThat(state.end().exitCode()).isNull();
    assertThat(state.end().message()).isEqualTo("node n1 says " + reason + ": " + message);
    Pod waiting =
        failed(reason, message)
            .editStatus()
            .addNewContainerStatus()
            .withNewState()
            .withNewWaiting(null, "ContainerCreating")
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    assertThat(PodState.of(waiting).end().reason()).isEqualTo(PodReason.Rejected);
  }

  @Test
  void aPodOfWhichAContainerRanWasNotRejected() {
    Pod once =
        failed("Any", "words")
            .editStatus()
            .addNewContainerStatus()
            .withNewState()
            .withNewTerminated()
            .withExitCode(71)
            .endTerminated()
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    assertThat(PodState.of(once).end().reason()).isNull();
    Pod again =
        failed("Evicted", "The node was low on resource: ephemeral-storage.")
            .editStatus()
            .addNewContainerStatus()
            .withRestartCount(1)
            .withNewState()
            .withNewWaiting(null, "CrashLoopBackOff")
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    assertThat(PodState.of(again).end().reason()).isEqualTo(PodReason.Evicted);
    Pod setUp =
        failed("Any", "words")
            .editStatus()
            .addNewInitContainerStatus()
            .withNewState()
            .withNewTerminated()
            .withExitCode(1)
            .endTerminated()
            .endState()
            .endInitContainerStatus()
            .endStatus()
            .build();
    assertThat(PodState.of(setUp).end().reason()).isNull();
  }

  /** A pod that never had a node was failed by somebody else, and one without a reason too. */
  @Test
  void aPodThatNoKubeletSpokeOfWasNotRejected() {
    Pod homeless = failed("Any", "words").withNewSpec().endSpec().build();
    assertThat(PodState.of(homeless).end().reason()).isNull();
    assertThat(PodState.of(failed(null, null).build()).end().reason()).isNull();
  }

  /** As a kubelet leaves a pod that it turned away. */
  private static PodBuilder failed(String reason, String message) {
    return new PodBuilder(NEW)
        .withNewSpec()
        .withNodeName("n1")
        .endSpec()
        .withNewStatus()
        .withPhase("Failed")
        .withReason(reason)
        .withMessage(message)
        .endStatus();
  }

  /** Reasons and messages as Volcano wrote them to the pods of one gang that did not fit. */
  @ParameterizedTest
  @CsvSource({
    "Schedulable, can possibly be assigned to node-a,",
    "Unschedulable, pod group is not ready, pod group is not ready"
  })
  void aPodThatWaitsForOthersIsNotUnschedulableItself(
      String reason, String message, String expected) {
    Pod pod =
        new PodBuilder(NEW)
            .withNewStatus()
            .addNewCondition()
            .withType("PodScheduled")
            .withStatus("False")
            .withReason(reason)
            .withMessage(message)
            .endCondition()
            .endStatus()
            .build();
    assertThat(PodState.of(pod).binding().unschedulable()).isEqualTo(expected);
  }

  /** Reasons and message as Kueue 0.19 wrote them to pods that it evicted. */
  @ParameterizedTest
  @CsvSource({
    "WorkloadEvictedDueToPreempted, Preempted",
    "WorkloadEvictedDueToDeactivated, Deactivated",
    "WorkloadEvictedDueToDeactivatedDueToAdmissionCheck, Deactivated",
    "WorkloadEvictedDueToDeactivatedDueToMaximumExecutionTimeExceeded, Deactivated",
    "WorkloadEvictedDueToClusterQueueStopped, Evicted",
    "WorkloadEvictedDueToPodsReadyTimeout, ReadyDeadline",
    "NotAdmitted, Evicted",
    "WorkloadDeleted,"
  })
  void anEvictionByKueueIsToldByItsCondition(String reason, PodReason expected) {
    Pod pod =
        new PodBuilder(NEW)
            .editMetadata()
            .withDeletionTimestamp("2026-01-01T00:00:00Z")
            .endMetadata()
            .withNewStatus()
            .withPhase("Running")
            .addNewCondition()
            .withType("TerminationTarget")
            .withStatus("True")
            .withReason(reason)
            .withMessage("The ClusterQueue is stopped")
            .endCondition()
            .endStatus()
            .build();
    PodState state = PodState.of(pod);
    assertThat(state.end().reason()).isEqualTo(expected);
    var found =
        Breakage.find(List.of(state), List.of("demo-0"), false, List.of(), false, Instant.EPOCH);
    assertThat(((Breakage.Finding.Broken) found).breakage())
        .isEqualTo(
            expected == null
                ? new Breakage("demo-0", null, PodReason.Deleted, "the pod is being deleted")
                : new Breakage(
                    "demo-0",
                    null,
                    expected,
                    "the pod is being deleted: The ClusterQueue is stopped"));
  }

  /** Whoever comes to the end of an eviction only still learns why from the pods that are left. */
  @Test
  void whatPodsThatAreLeftSayCountsBeforeThoseThatAreGone() {
    Pod left =
        new PodBuilder(NEW)
            .editMetadata()
            .addToLabels(GangLabels.POD_INDEX, "0")
            .withDeletionTimestamp("2026-01-01T00:00:00Z")
            .endMetadata()
            .withNewStatus()
            .withPhase("Running")
            .addNewCondition()
            .withType("TerminationTarget")
            .withStatus("True")
            .withReason("WorkloadEvictedDueToDeactivated")
            .withMessage("The workload is deactivated")
            .endCondition()
            .endStatus()
            .build();
    var found =
        Breakage.find(
            List.of(PodState.of(left)),
            List.of("demo-0", "demo-1"),
            true,
            List.of(),
            false,
            Instant.parse("2026-01-01T00:00:00Z"));
    assertThat(((Breakage.Finding.Broken) found).breakage().reason())
        .isEqualTo(PodReason.Deactivated);
  }

  @Test
  void aKillForMemoryIsToldByTheContainersReason() {
    Pod pod =
        new PodBuilder(NEW)
            .withNewStatus()
            .addNewContainerStatus()
            .withNewState()
            .withNewTerminated()
            .withExitCode(137)
            .withReason("OOMKilled")
            .endTerminated()
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    assertThat(PodState.of(pod).end().reason()).isEqualTo(PodReason.OOMKilled);
  }

  @Test
  void aPodThatNoNodeTakesSaysWhy() {
    Pod pod =
        new PodBuilder(NEW)
            .withNewStatus()
            .withPhase("Pending")
            .addNewCondition()
            .withType("PodScheduled")
            .withStatus("False")
            .withMessage("0/1 nodes are available: 1 Insufficient nvidia.com/gpu")
            .endCondition()
            .endStatus()
            .build();
    assertThat(PodState.of(pod).binding().unschedulable()).contains("Insufficient nvidia.com/gpu");
  }
}
