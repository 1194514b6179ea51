package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.PretrainJobStatus;
import java.io.IOException;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Clocks of operators and nodes that differ by minutes: waits end neither early nor never. */
class ClockSkewTest {
  private static final int TEN_MINUTES = 600;

  private FakeCluster cluster = new FakeCluster(Jobs.small());

  private void form() {
    cluster.reconcile();
    cluster.runAll();
    cluster.reconcile();
  }

  @ParameterizedTest
  @ValueSource(ints = {-TEN_MINUTES, TEN_MINUTES})
  void aLostPeerIsNotWaitedForUntilTheNodesClockIsReached(int nodesAhead) {
    form();
    cluster.nodesAhead = Duration.ofSeconds(nodesAhead);
    cluster.exit("demo-1", 69, null);
    cluster.reconcile();
    cluster.pass(15);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.job.getStatus().lastFailure().pod()).isEqualTo("demo-1");
  }

  @Test
  void clocksThatDifferByLessThanTheWaitStillLeaveTimeForTheCulpritToShow() {
    form();
    cluster.nodesAhead = Duration.ofSeconds(5);
    cluster.exit("demo-1", 69, null);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().restarts()).isZero();
    cluster.exit("demo-0", 137, null);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().pod()).isEqualTo("demo-0");
  }

  /** An operator whose clock was ahead, or behind, is followed by one whose clock is right. */
  @ParameterizedTest
  @ValueSource(ints = {-TEN_MINUTES, TEN_MINUTES})
  void aPodThatDoesNotNoticeIsNotWaitedForUntilTheOtherClockIsReached(int change) {
    cluster =
        new FakeCluster(
            Jobs.with(
                Jobs.with(Jobs.small(), "/scheduling", "{adapter: None}"),
                "/failurePolicy/restart",
                "InPlace"));
    form();
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    assertThat(cluster.graces).doesNotContainKey("demo-0");
    cluster.pass(change);
    cluster.pass(30);
    cluster.reconcile();
    assertThat(cluster.graces).containsEntry("demo-0", 15L);
  }

  @Test
  void aDeadlineOfAStartThatBeganInTheFuturePassesAllTheSame() {
    cluster.reconcile();
    cluster.bind("ContainerCreating");
    cluster.reconcile();
    cluster.pass(-TEN_MINUTES);
    cluster.reconcile();
    cluster.pass(1799);
    cluster.reconcile();
    assertThat(cluster.reason()).as("not early").isEqualTo("Starting");
    cluster.pass(1);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("ImagePullDeadline");
  }

  @ParameterizedTest
  @ValueSource(strings = {"2099-01-01T00:00:00Z", "yesterday"})
  void aTimeThatSomebodyWroteByHandDoesNotKeepADeadlineFromPassing(String time) throws IOException {
    cluster = new FakeCluster(Jobs.with(Jobs.small(), "/activeDeadlineSeconds", "1000"));
    form();
    ObjectNode status = new ObjectMapper().valueToTree(cluster.job.getStatus());
    status.put("startTime", time).withObject("/attempt").put("phaseTime", time);
    cluster.job.setStatus(new ObjectMapper().treeToValue(status, PretrainJobStatus.class));
    cluster.reconcile();
    assertThat(cluster.reconcile().actions()).as("nothing but the status").isEmpty();
    cluster.pass(999);
    cluster.reconcile();
    assertThat(cluster.holding()).as("not early").doesNotContain("Failed");
    cluster.pass(1);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("DeadlineExceeded");
  }

  @Test
  void anEndedJobIsNotKeptUntilTheClockThatWroteItsEndIsReached() {
    cluster = new FakeCluster(Jobs.with(Jobs.small(), "/ttlSecondsAfterFinished", "60"));
    form();
    cluster.exit("demo-0", 64, null);
    cluster.reconcile();
    assertThat(cluster.holding()).contains("Failed");
    cluster.pass(-TEN_MINUTES);
    cluster.reconcile();
    cluster.pass(59);
    assertThat(cluster.reconcile().expired()).isFalse();
    cluster.pass(1);
    assertThat(cluster.reconcile().expired()).isTrue();
  }
}
