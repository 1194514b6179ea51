package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.FailurePolicy.PodReason;
import io.fabric8.kubernetes.api.model.Affinity;
import io.fabric8.kubernetes.api.model.NodeSelectorRequirement;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Kubelets turn pods away, and the next start keeps off their nodes where it can. */
class RejectedPodsTest {
  private final FakeCluster cluster = new FakeCluster(Jobs.small());

  /** Nodes that a pod would rather not have, as it was last made. */
  private List<String> shunned(String pod) {
    Optional<Affinity> affinity = Optional.ofNullable(cluster.made(pod).getSpec().getAffinity());
    affinity.ifPresent(
        a ->
            assertThat(a.getNodeAffinity().getRequiredDuringSchedulingIgnoredDuringExecution())
                .as("a demand might be one that no node meets")
                .isNull());
    return affinity.stream()
        .flatMap(
            a -> a.getNodeAffinity().getPreferredDuringSchedulingIgnoredDuringExecution().stream())
        .flatMap(term -> term.getPreference().getMatchFields().stream())
        .peek(field -> assertThat(field.getKey()).isEqualTo("metadata.name"))
        .peek(field -> assertThat(field.getOperator()).isEqualTo("NotIn"))
        .map(NodeSelectorRequirement::getValues)
        .peek(values -> assertThat(values).as("the API server takes just one").hasSize(1))
        .map(List::getFirst)
        .toList();
  }

  private void startsAgain() {
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(300);
    cluster.reconcile();
    cluster.reconcile();
  }

  @Test
  void allPodsOfTheNextStartPreferOtherNodesAndTheStatusSaysSo() {
    cluster.reconcile();
    assertThat(cluster.made("demo-0").getSpec().getAffinity()).isNull();
    cluster.reject("demo-1", "gpu-7");
    cluster.reconcile();
    assertThat(cluster.message())
        .contains("lost (Rejected)", "; the next start prefers other nodes than gpu-7");
    assertThat(cluster.job.getStatus().lastFailure().rejectedBy()).containsExactly("gpu-7");
    startsAgain();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(shunned("demo-0")).containsExactly("gpu-7");
    assertThat(shunned("demo-1")).containsExactly("gpu-7");
  }

  @Test
  void nodesThatTurnPodsAwayInARowAreAllShunnedAndForgottenByTheFirstStartThatBreaksOtherwise() {
    cluster.reconcile();
    cluster.reject("demo-0", "gpu-3");
    cluster.reject("demo-1", "gpu-7");
    startsAgain();
    assertThat(shunned("demo-0")).containsExactly("gpu-3", "gpu-7");
    cluster.reject("demo-1", "gpu-1");
    startsAgain();
    assertThat(shunned("demo-1")).containsExactly("gpu-3", "gpu-7", "gpu-1");
    cluster.runAll();
    cluster.lose("demo-1", PodReason.Evicted);
    startsAgain();
    assertThat(cluster.job.getStatus().lastFailure().rejectedBy()).isNull();
    assertThat(cluster.made("demo-1").getSpec().getAffinity()).isNull();
  }

  @Test
  void ofManyNodesTheLastAreShunned() {
    cluster.reconcile();
    for (int i = 1; i <= 20; i++) {
      cluster.reject("demo-1", "gpu-" + i);
      startsAgain();
    }
    assertThat(shunned("demo-1"))
        .containsExactlyElementsOf(
            IntStream.rangeClosed(13, 20).mapToObj(i -> "gpu-" + i).toList());
    cluster.reject("demo-1", "gpu-15");
    startsAgain();
    assertThat(shunned("demo-1")).hasSize(8).endsWith("gpu-20", "gpu-15");
  }

  @Test
  void aJobThatFailsUponItPromisesNoNextStart() {
    cluster.job =
        Jobs.with(Jobs.small(), "/failurePolicy/rules", "[{podReasons: [Rejected], action: Fail}]");
    cluster.reconcile();
    cluster.reject("demo-1", "gpu-7");
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("FailedByRule");
    assertThat(cluster.message()).contains("lost (Rejected)").doesNotContain("next start");
  }

  /** The API server would refuse the pods for ever. */
  @Test
  void aNameThatSomebodyWroteByHandAndNoNodeHasIsNotShunned() {
    cluster.reconcile();
    cluster.reject("demo-1", "gpu-7");
    cluster.reconcile();
    cluster.annotate(
        JobRecord.ANNOTATION,
        cluster.annotation(JobRecord.ANNOTATION).replace("\"gpu-7\"", "\"Not a node\""));
    startsAgain();
    assertThat(shunned("demo-1")).doesNotContain("Not a node");
  }
}
