package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.NodeState;
import dev.perigee.run.RankMap;
import io.fabric8.kubernetes.api.model.Pod;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Pods that wait to take any place of a gang. */
class SparesTest {
  private final FakeCluster cluster =
      new FakeCluster(
          Jobs.with(
              Jobs.with(Jobs.small(), "/scheduling", "{adapter: None}"),
              "/failurePolicy",
              "{restart: InPlace, spares: 1, backoffSeconds: 0}"));

  private void start() {
    cluster.reconcile();
    assertThat(cluster.podNames()).as("the gang comes first").containsExactly("demo-0", "demo-1");
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1", "demo-spare0");
    cluster.runAll();
    cluster.reconcile();
    assertThat(cluster.reconcile().actions()).isEmpty();
  }

  private List<String> places() throws IOException {
    String map = cluster.configMap("demo-peers").getData().get("ranks.json");
    return new ObjectMapper()
        .readValue(map, RankMap.class).pods().stream().map(RankMap.Pod::name).toList();
  }

  @Test
  void aSpareKnowsItsNameAndNoPlace() {
    cluster.reconcile();
    Pod spare = ((GangAction.CreatePod) cluster.reconcile().actions().getLast()).pod();
    assertThat(spare.getMetadata().getLabels())
        .containsEntry("perigee.dev/generation", "0")
        .doesNotContainKey("perigee.dev/pod-index");
    assertThat(spare.getSpec().getContainers().getFirst().getEnv())
        .anyMatch(e -> e.getName().equals("PERIGEE_SPARE") && e.getValue().equals("demo-spare0"))
        .noneMatch(e -> e.getName().equals("PERIGEE_POD_INDEX"));
    assertThat(spare.getSpec().getVolumes()).anyMatch(v -> v.getName().equals("peers"));
  }

  @Test
  void aSpareTakesThePlaceOfALostPodAndAnotherSpareIsMade() throws IOException {
    loseOneAndTakeASpare();
  }

  /** Pod 1 is lost with its node, spare 0 takes its place, and a new spare is made. */
  private void loseOneAndTakeASpare() throws IOException {
    start();
    String zero = cluster.uid("demo-0");
    cluster.node("demo-1", NodeState.gone("n1"));
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-spare0");
    cluster.startAgain("demo-0", 69);
    cluster.pass(1);
    assertThat(cluster.reconcile().actions())
        .as("nobody is waited for")
        .noneMatch(GangAction.CreatePod.class::isInstance)
        .contains(new GangAction.AdoptPod("demo-spare0", cluster.uid("demo-spare0"), 1, 2, 0));
    assertThat(places()).containsExactly("demo-0.demo.lab.svc", "demo-spare0.demo.lab.svc");
    cluster.reconcile();
    assertThat(cluster.uid("demo-0")).isEqualTo(zero);
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-spare0", "demo-spare1");
    cluster.runAll();
    cluster.reconcile();
    assertThat(cluster.job.getStatus().attempt().formed()).isTrue();
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
    assertThat(cluster.reconcile().actions()).isEmpty();
  }

  @Test
  void aSpareTakesThePlaceOfRankZeroToo() throws IOException {
    start();
    cluster.exit("demo-0", 137, null);
    cluster.reconcile();
    cluster.startAgain("demo-1", 69);
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(places()).containsExactly("demo-spare0.demo.lab.svc", "demo-1.demo.lab.svc");
  }

  @Test
  void aSpareThatTookAPlaceIsAMemberLikeAnyOther() throws IOException {
    loseOneAndTakeASpare();
    cluster.exit("demo-spare0", 137, null);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().pod()).isEqualTo("demo-spare0");
    cluster.startAgain("demo-0", 69);
    cluster.finishDeletions();
    cluster.pass(4);
    cluster.reconcile();
    assertThat(places()).containsExactly("demo-0.demo.lab.svc", "demo-spare1.demo.lab.svc");
  }

  @Test
  void aPlaceForWhichNoSpareIsUpGetsANewPod() {
    cluster.reconcile();
    cluster.reconcile();
    cluster.running("demo-0");
    cluster.running("demo-1");
    cluster.reconcile();
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    cluster.startAgain("demo-0", 69);
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1", "demo-spare0");
    assertThat(cluster.generations()).as("its image is still being pulled").contains(0);
  }

  @Test
  void aSpareMakesRoomForAPodOfTheGangThatNoNodeTakes() {
    cluster.reconcile();
    cluster.reconcile();
    cluster.running("demo-0");
    cluster.running("demo-1");
    cluster.refuse("demo-spare0", "Insufficient cpu");
    cluster.reconcile();
    assertThat(cluster.podNames()).as("it may wait").contains("demo-spare0");
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    cluster.startAgain("demo-0", 69);
    cluster.finishDeletions();
    cluster.reconcile();
    cluster.running("demo-spare0"); // it waited longer than the new pod, which comes too late
    cluster.refuse("demo-1", "Insufficient cpu");
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("InsufficientCapacity");
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    cluster.running("demo-1");
    cluster.reconcile();
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1", "demo-spare0");
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(2);
  }

  @Test
  void aSpareThatDiesBreaksNothingAndIsMadeAnewAfterAMinute() {
    start();
    cluster.exit("demo-spare0", 1, null);
    cluster.reconcile();
    cluster.pass(59);
    assertThat(cluster.reconcile().actions()).isEmpty();
    cluster.pass(1);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.reconcile();
    cluster.runAll();
    assertThat(cluster.podNames()).hasSize(3).contains("demo-0", "demo-1");
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(1);
    assertThat(cluster.reconcile().actions()).isEmpty();
  }

  @Test
  void sparesAreAddedAndTakenAwayWhileTheJobRuns() {
    start();
    cluster.job = Jobs.with(cluster.job, "/failurePolicy/spares", "3");
    cluster.reconcile();
    cluster.runAll();
    assertThat(cluster.podNames()).contains("demo-spare1", "demo-spare2");
    cluster.job = Jobs.with(cluster.job, "/failurePolicy/spares", "0");
    cluster.reconcile();
    cluster.finishDeletions();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(1);
  }

  @Test
  void aSuspendedJobAndOneThatIsDoneHoldNoSpares() {
    start();
    cluster.exit("demo-0", 0, null);
    cluster.exit("demo-1", 0, null);
    cluster.reconcile();
    cluster.finishDeletions();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.holding()).contains("Complete");

    cluster.job.setStatus(null);
    FakeCluster other = new FakeCluster(cluster.job);
    other.reconcile();
    other.reconcile();
    other.runAll();
    other.job = Jobs.with(other.job, "/suspend", "true");
    other.reconcile();
    other.finishDeletions();
    other.reconcile();
    assertThat(other.podNames()).isEmpty();
    assertThat(other.holding()).containsExactly("Suspended");
  }

  @Test
  void anOperatorThatPlansDifferentlyLeavesSparesUntilTheNextStart() {
    start();
    String old = cluster.uid("demo-spare0");
    // The schema does not let this change while the job runs: it stands for another operator.
    cluster.job = Jobs.with(cluster.job, "/steps", "77");
    cluster.reconcile();
    assertThat(cluster.uid("demo-spare0")).isEqualTo(old);
    cluster.exit("demo-1", 137, null);
    for (int i = 0; i < 6; i++) {
      cluster.reconcile();
      cluster.finishDeletions();
      cluster.pass(2);
    }
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1", "demo-spare0");
    assertThat(cluster.uid("demo-spare0")).isNotEqualTo(old);
    assertThat(cluster.generations()).containsExactlyInAnyOrder(2, 0);
  }

  @Test
  void anotherMeshGetsSparesOfItsOwn() {
    start();
    String old = cluster.uid("demo-spare0");
    cluster.job = Jobs.with(cluster.job, "/suspend", "true");
    cluster.reconcile();
    assertThat(cluster.graces).as("it saves first").containsEntry("demo-0", null);
    cluster.job = Jobs.with(cluster.job, "/parallelism", "{data: 2, expert: 2, ranksPerPod: 1}");
    cluster.job = Jobs.with(cluster.job, "/suspend", "false");
    for (int i = 0; i < 5; i++) {
      cluster.reconcile();
      cluster.finishDeletions();
      cluster.pass(2);
    }
    cluster.runAll();
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1", "demo-spare0");
    assertThat(cluster.uid("demo-spare0")).isNotEqualTo(old);
  }
}
