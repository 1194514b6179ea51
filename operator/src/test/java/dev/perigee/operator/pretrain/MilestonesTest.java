package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.GangFailure;
import dev.perigee.operator.OperatorMetrics;
import dev.perigee.run.RunStatus;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What is counted of a job's life: each thing once. */
class MilestonesTest {
  private final FakeCluster cluster = new FakeCluster(Jobs.small());

  @Test
  void eachStartIsTimedOnceAndEachFailureCountedOnceWithTheStepsItCost() {
    cluster.reconcile();
    cluster.pass(30);
    train(10, 0);
    cluster.pass(10);
    train(57, 50);
    cluster.said = null;
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(4); // the wait is no part of the start
    cluster.reconcile();
    cluster.pass(20);
    train(60, 50);
    train(61, 50);

    assertThat(starts()).containsExactly(Duration.ofSeconds(30), Duration.ofSeconds(20));
    List<Milestones> broke =
        cluster.milestones.stream().filter(m -> m.broke().isPresent()).toList();
    assertThat(broke).singleElement().extracting(Milestones::lostSteps).isEqualTo(7L);
    GangFailure failure = broke.getFirst().broke().orElseThrow();

    OperatorMetrics metrics = new OperatorMetrics();
    metrics.broke("PretrainJob", failure, 7);
    metrics.started("PretrainJob", Duration.ofSeconds(20));
    assertThat(metrics.text())
        .contains(
            "perigee_gang_failures_total{kind=\"PretrainJob\",reason=\"Signal9\",action=\"Restart\",}"
                + " 1.0",
            "perigee_lost_steps_total{kind=\"PretrainJob\",} 7.0",
            "perigee_gang_start_seconds_sum{kind=\"PretrainJob\",} 20.0");
  }

  private List<Duration> starts() {
    return cluster.milestones.stream().flatMap(m -> m.startTook().stream()).toList();
  }

  private void train(long step, long durable) {
    cluster.runAll();
    cluster.said = Jobs.said(RunStatus.Phase.Training, step, durable, 2.0, "2026-01-01T00:01:00Z");
    cluster.reconcile();
  }
}
