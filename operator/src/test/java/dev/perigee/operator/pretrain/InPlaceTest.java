package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.NodeState;
import io.fabric8.kubernetes.api.model.ContainerRestartRule;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Restarts that keep the pods that are well. */
class InPlaceTest {
  private final FakeCluster cluster =
      new FakeCluster(
          Jobs.with(
              Jobs.with(Jobs.small(), "/scheduling", "{adapter: None}"),
              "/failurePolicy/restart",
              "InPlace"));
  private String uid;

  @BeforeEach
  void start() {
    Step step = cluster.reconcile();
    var pod = ((GangAction.CreatePod) step.actions().getLast()).pod();
    List<ContainerRestartRule> rules =
        pod.getSpec().getContainers().getFirst().getRestartPolicyRules();
    assertThat(rules).hasSize(1);
    assertThat(rules.getFirst().getExitCodes().getValues()).containsExactly(69, 75);
    cluster.runAll();
    cluster.reconcile();
    cluster.reconcile();
    uid = cluster.uid("demo-0");
  }

  @Test
  void onlyThePodThatBrokeIsReplacedAndRankZeroStays() {
    replaceTheSecondPod();
  }

  private void replaceTheSecondPod() {
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    assertThat(cluster.graces).as("demo-0 is about to notice").doesNotContainKey("demo-0");
    cluster.startAgain("demo-0", 69);
    cluster.finishDeletions();
    cluster.pass(4);
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.generations()).as("the new pod has no address yet").containsExactly(1, 2);

    cluster.running("demo-1");
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
    assertThat(cluster.uid("demo-0")).isEqualTo(uid);
    assertThat(cluster.configMap("demo-peers").getData().get("ranks.json"))
        .contains("\"generation\" : 2");
    assertThat(cluster.configMapNames())
        .as("demo-0 has that of the first start mounted")
        .contains("demo-attempt-1", "demo-attempt-2");
    cluster.runAll();
    cluster.reconcile();
    assertThat(cluster.job.getStatus().attempt().formed()).isTrue();
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.reconcile().actions()).isEmpty();
  }

  /** Between a program's end and its container's next start the kubelet reports it as ended. */
  @Test
  void aPodWhoseContainerIsAboutToStartAgainIsLeftAlone() {
    cluster.exit("demo-1", 137, null);
    cluster.exitToReturn("demo-0", 69);
    cluster.reconcile();
    cluster.pass(2);
    cluster.reconcile();
    assertThat(cluster.graces).doesNotContainKey("demo-0");
    cluster.startAgain("demo-0", 69);
    cluster.finishDeletions();
    cluster.pass(2);
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.uid("demo-0")).isEqualTo(uid);
  }

  @Test
  void aContainerThatWasNotStartedAgainAfterAllIsMadeAnew() {
    cluster.exit("demo-1", 137, null);
    cluster.exitToReturn("demo-0", 69);
    cluster.reconcile();
    cluster.pass(30);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.uid("demo-0")).isNotEqualTo(uid);
  }

  @Test
  void aProgramThatDoesNotNoticeIsNotWaitedForForever() {
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    cluster.pass(29);
    cluster.reconcile();
    assertThat(cluster.graces).doesNotContainKey("demo-0");
    cluster.pass(1);
    cluster.reconcile();
    assertThat(cluster.graces).containsEntry("demo-0", 15L);
  }

  @Test
  void aPodWhoseNodeIsLostIsForgottenAndTheOthersStay() {
    cluster.node("demo-1", NodeState.gone("n1"));
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0");
    cluster.startAgain("demo-0", 69);
    cluster.pass(4);
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.uid("demo-0")).isEqualTo(uid);
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
  }

  @Test
  void whereContainersAreNotStartedAgainAllPodsAreMadeAnew() {
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    cluster.exit("demo-0", 69, null);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(4);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
    assertThat(cluster.uid("demo-0")).isNotEqualTo(uid);
  }

  @Test
  void aSuspendedJobKeepsNoPodThatWaits() {
    cluster.lose("demo-1", PodReason.Evicted);
    cluster.reconcile();
    cluster.startAgain("demo-0", 69);
    var status = cluster.job.getStatus();
    cluster.job = Jobs.with(cluster.job, "/suspend", "true");
    cluster.job.setStatus(status);
    cluster.reconcile();
    cluster.finishDeletions();
    assertThat(cluster.podNames()).isEmpty();
  }

  @Test
  void aPodThatWaitsAgainIsAGangThatBrokeAgain() {
    replaceTheSecondPod();
    cluster.startAgain("demo-0", 69);
    cluster.startAgain("demo-1", 69);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(3);
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(2);
  }
}
