package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.run.RunStatus;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What happens to a job from its first look to its end, in a cluster in memory. */
class JobStoryTest {
  private final FakeCluster cluster = new FakeCluster(Jobs.small());

  @Test
  void aJobTrainsToItsEnd() {
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.reason()).isEqualTo("Starting");
    assertThat(cluster.holding()).containsExactly("Reconciling");
    assertThat(cluster.job.getStatus().observedGeneration()).isEqualTo(1);

    train(42, 2.5);
    assertThat(cluster.holding()).containsExactly("Ready");
    assertThat(cluster.job.getStatus().progress().step()).isEqualTo(42);
    assertThat(cluster.job.getStatus().lastDurableCheckpoint().path())
        .isEqualTo("demo/step-00000040");
    cluster.said = status(RunStatus.Phase.Saving, 50, 2.4, "2026-01-01T00:02:00Z");
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Saving");
    assertThat(cluster.holding()).containsExactly("Ready");

    cluster.said = null;
    cluster.exit("demo-1", 0, null);
    cluster.exit(
        "demo-0",
        0,
        "{\"phase\": \"Done\", \"step\": 100, \"totalSteps\": 100, \"tokens\": 102400,"
            + " \"loss\": 0.5, \"durableStep\": 100,"
            + " \"evaluation\": {\"step\": 100, \"exact\": 0.96, \"problems\": 500}}");
    Step last = cluster.reconcile();
    assertThat(cluster.holding()).containsExactly("Ready", "Complete");
    assertThat(cluster.job.getStatus().progress().loss()).isEqualTo(0.5);
    assertThat(cluster.job.getStatus().evaluation().exact()).isEqualTo(0.96);
    assertThat(cluster.job.getStatus().lastDurableCheckpoint().step()).isEqualTo(100);
    assertThat(cluster.job.getStatus().completionTime()).isNotNull();
    assertThat(last.actions()).isEmpty();
    assertThat(last.lookAgain()).isEmpty();
    assertThat(cluster.events)
        .extracting(Transition::reason)
        .containsExactly("Starting", "Training", "Complete");
  }

  @Test
  void lastWordsStayWhenTheEndedPodsAreGone() {
    cluster.reconcile();
    train(42, 2.5);
    cluster.said = null;
    cluster.exit("demo-0", 0, "{\"phase\": \"Done\", \"step\": 100, \"loss\": 0.5}");
    cluster.exit("demo-1", 0, null);
    cluster.reconcile();
    var before = cluster.job.getStatus();
    cluster.vanish("demo-0");
    cluster.vanish("demo-1");
    cluster.pass(1000);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.job.getStatus()).isEqualTo(before);
    assertThat(before.progress().loss()).isEqualTo(0.5);
  }

  @Test
  void nothingIsWrittenWhenNothingChanged() {
    cluster.reconcile();
    train(10, 3);
    int writes = cluster.writes;
    cluster.pass(2);
    cluster.said = status(RunStatus.Phase.Training, 10, 3.0, "2026-01-01T00:09:00Z");
    cluster.reconcile();
    assertThat(cluster.writes).isEqualTo(writes);
  }

  @Test
  void anOperatorThatComesBackInMidRunTouchesNothing() {
    cluster.reconcile();
    train(10, 3);
    int writes = cluster.writes;
    cluster.said = null; // its first question is not answered yet
    cluster.pass(60);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.writes).isEqualTo(writes);
    assertThat(cluster.reason()).isEqualTo("Training");
  }

  @Test
  void aKilledPodRestartsTheGangFromTheLastCheckpoint() {
    cluster.reconcile();
    train(60, 2);
    cluster.said = null;
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Restarting");
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.job.getStatus().lastFailure().message())
        .isEqualTo("demo-1 exited with 137 (Signal9)");
    cluster.reconcile(); // nothing may start while an old pod is there
    assertThat(cluster.generations()).containsExactly(1);

    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("BackingOff");
    assertThat(cluster.podNames()).isEmpty();
    cluster.pass(4);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
    assertThat(cluster.configMapNames()).containsExactly("demo-attempt-2", "demo-peers");
    assertThat(cluster.job.getStatus().progress().step()).as("kept").isEqualTo(60);
    assertThat(cluster.events)
        .extracting(Transition::reason)
        .containsExactly("Starting", "Training", "Restarting", "BackingOff", "Starting");
  }

  @Test
  void anOperatorThatDiesBetweenWritingAndDoingCountsOnce() {
    cluster.reconcile();
    train(60, 2);
    cluster.exit("demo-1", 137, null);
    cluster.said = null;
    cluster.reconcile(FakeCluster.Death.AFTER_REPORTING);
    cluster.pass(30);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(2);
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
  }

  @Test
  void aLostPeerIsBlamedOnlyWhenNoPodHasAReasonOfItsOwn() {
    cluster.reconcile();
    train(60, 2);
    cluster.said = null;
    cluster.exit("demo-0", 69, null);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().restarts()).as("waits for the culprit").isZero();
    cluster.pass(3);
    cluster.exit("demo-1", 71, "out of memory: 2 GiB heap");
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().message())
        .isEqualTo("demo-1 exited with 71 (OutOfMemory): out of memory: 2 GiB heap");
  }

  @Test
  void aBadConfigurationFailsAtOnceWithTheProgramsOwnLine() {
    cluster.reconcile();
    cluster.runAll();
    cluster.reconcile();
    String line = "data[0].path: data/books/none.txt does not exist; expected a file or folder";
    cluster.exit("demo-0", 64, "{\"phase\": \"Failed\", \"message\": \"" + line + "\"}");
    Step step = cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("BadConfig");
    assertThat(cluster.message()).isEqualTo("demo-0 exited with 64 (BadConfig): " + line);
    assertThat(cluster.holding()).containsExactly("Stalled", "Failed");
    assertThat(step.actions()).as("the pod that still runs is stopped").hasSize(1);
    cluster.pass(100);
    cluster.reconcile();
    assertThat(cluster.podNames()).as("the ended pod keeps its log").contains("demo-0");
    assertThat(cluster.job.getStatus().restarts()).isZero();
  }

  @Test
  void tooManyRestartsFailWithTheLastReason() {
    for (int restart = 0; restart < 3; restart++) {
      cluster.reconcile();
      cluster.runAll();
      cluster.reconcile();
      cluster.exit("demo-0", 1, "java.lang.IllegalStateException: x");
      cluster.reconcile();
      cluster.finishDeletions();
      cluster.pass(400);
    }
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("TooManyRestarts");
    assertThat(cluster.message())
        .isEqualTo(
            "demo-0 exited with 1 (Internal): java.lang.IllegalStateException: x (after 2"
                + " restarts, the most allowed)");
  }

  @Test
  void waitsDoubleWithEachRestart() {
    assertThat(backoffAfter(1)).isEqualTo(Duration.ofSeconds(4));
    cluster.finishDeletions();
    cluster.pass(4);
    assertThat(backoffAfter(1)).isEqualTo(Duration.ofSeconds(8));
  }

  @Test
  void whatTheClusterDidDoesNotCount() {
    for (PodReason reason : List.of(PodReason.Evicted, PodReason.NodeLost, PodReason.Preempted)) {
      cluster.reconcile();
      train(60, 2);
      cluster.said = null;
      cluster.exit("demo-0", 69, null);
      cluster.lose("demo-1", reason);
      cluster.reconcile();
      cluster.finishDeletions();
      cluster.pass(10);
    }
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(3);
  }

  /** Where all nodes turn pods away nothing else can be done. */
  @Test
  void aNodeThatTurnsPodsAwayForEverCountsNothingAndIsAskedLessAndLess() {
    List<Duration> waits = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      cluster.reconcile();
      cluster.lose("demo-1", PodReason.Rejected);
      cluster.reconcile();
      waits.add(
          Duration.between(
              cluster.now, Instant.parse(cluster.job.getStatus().attempt().notBefore())));
      if (i == 0) {
        assertThat(cluster.message()).contains("lost (Rejected)").doesNotContain("cordon");
      } else {
        assertThat(cluster.message()).contains("lost (Rejected)", "again", "cordon the node");
      }
      cluster.finishDeletions();
      cluster.pass(300);
    }
    assertThat(waits.stream().map(Duration::toSeconds))
        .containsExactly(4L, 8L, 16L, 32L, 64L, 128L, 256L, 300L);
    assertThat(cluster.job.getStatus().restarts()).isZero();
    cluster.reconcile();
    train(60, 2);
    cluster.said = null;
    cluster.lose("demo-1", PodReason.Evicted);
    cluster.reconcile();
    assertThat(cluster.message()).doesNotContain("cordon");
    assertThat(
            Duration.between(
                cluster.now, Instant.parse(cluster.job.getStatus().attempt().notBefore())))
        .isEqualTo(Duration.ofSeconds(4));
  }

  @Test
  void aPodThatSomebodyDeletesRestartsTheGangWithoutCounting() {
    cluster.reconcile();
    train(60, 2);
    cluster.said = null;
    cluster.vanish("demo-1");
    cluster.reconcile();
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("Deleted");
  }

  @Test
  void aPodThatNeverCameIsMadeAgainWithoutARestart() {
    cluster.reconcile();
    cluster.vanish("demo-1");
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(1);
  }

  @Test
  void aRefusedPodIsSaidOnceAndTriedUntilItIsTaken() {
    cluster.refusal = "pods \"demo-0\" is forbidden: exceeded quota: gpus";
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("CreationRefused");
    assertThat(cluster.message()).isEqualTo(cluster.refusal);
    int writes = cluster.writes;
    cluster.pass(30);
    cluster.reconcile();
    assertThat(cluster.writes).isEqualTo(writes);
    cluster.refusal = null;
    cluster.reconcile();
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Starting");
    assertThat(cluster.podNames()).hasSize(2);
  }

  @Test
  void aJobThatFailedStaysFailedWhenItsPodsCannotBeDeleted() {
    cluster.reconcile();
    cluster.runAll();
    cluster.exit("demo-0", 64, "bad");
    cluster.refusal = "etcdserver: request timed out";
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("BadConfig");
    assertThat(cluster.holding()).containsExactlyInAnyOrder("Failed", "Stalled");
  }

  @Test
  void aJobThatIsOverNeedsNoPlanAnyMore() {
    cluster.reconcile();
    cluster.runAll();
    cluster.exit("demo-0", 0, null);
    cluster.exit("demo-1", 0, null);
    cluster.reconcile();
    PretrainJobStatus complete = cluster.job.getStatus();
    cluster.job = Jobs.with(cluster.job, "/model", "{preset: forgotten}");
    cluster.job.setStatus(complete);
    assertThat(cluster.reconcile().expired()).isFalse();
    assertThat(cluster.holding()).containsExactlyInAnyOrder("Ready", "Complete");
    assertThat(cluster.reason()).isEqualTo("Complete");
    cluster.job = Jobs.with(cluster.job, "/ttlSecondsAfterFinished", "10");
    cluster.job.setStatus(complete);
    assertThat(cluster.reconcile().lookAgain()).contains(Duration.ofSeconds(10));
    cluster.pass(10);
    assertThat(cluster.reconcile().expired()).isTrue();
  }

  @Test
  void whatIsRefusedAgainAndAgainIsSaidOnceThoughThePodsAreThere() {
    cluster.reconcile();
    cluster.runAll();
    cluster.said = Jobs.said(RunStatus.Phase.Rendezvous, 0, 0, 2, "2026-01-01T00:00:10Z");
    cluster.refusal = "configmaps \"demo-peers\" is forbidden: exceeded quota: objects";
    cluster.reconcile();
    assertThat(cluster.message()).isEqualTo(cluster.refusal);
    cluster.reconcile();
    int writes = cluster.writes;
    int events = cluster.events.size();
    for (int i = 0; i < 3; i++) {
      cluster.pass(2);
      cluster.reconcile();
    }
    assertThat(cluster.writes).isEqualTo(writes);
    assertThat(cluster.events).hasSize(events);
    cluster.refusal = null;
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Rendezvous");
  }

  @Test
  void aRuleOfTheJobComesBeforeTheBuiltInOnes() {
    cluster.job =
        Jobs.with(
            cluster.job, "/failurePolicy/rules", "[{action: Fail, exitMeanings: [OutOfMemory]}]");
    cluster.reconcile();
    cluster.runAll();
    cluster.exit("demo-0", 71, null);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("FailedByRule");
  }

  @Test
  void aSuspendedJobLetsItsPodsSaveAndContinuesLater() {
    cluster.reconcile();
    train(60, 2);
    cluster.said = null;
    suspend(true);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Suspending");
    cluster.exit("demo-0", 75, null);
    cluster.exit("demo-1", 75, null);
    cluster.reconcile();
    cluster.finishDeletions();
    Step step = cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Suspended");
    assertThat(cluster.holding()).containsExactly("Suspended");
    assertThat(step.lookAgain()).isEmpty();
    int writes = cluster.writes;
    cluster.reconcile();
    assertThat(cluster.writes).isEqualTo(writes);

    suspend(false);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.job.getStatus().disruptions()).isZero();
  }

  @Test
  void whatChangedWhileSuspendedReachesThePodsEvenWhenNoneHadStarted() {
    cluster.reconcile();
    cluster.vanish("demo-0");
    cluster.vanish("demo-1");
    suspend(true);
    cluster.reconcile();
    suspend(false);
    cluster.reconcile();
    assertThat(cluster.configMapNames()).containsExactly("demo-attempt-2");
  }

  @Test
  void aJobThatIsSuspendedFromTheStartHasNoPods() {
    suspend(true);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.reason()).isEqualTo("Suspended");
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(1);
  }

  @Test
  void aPlanThatCannotWorkIsStalledAndMakesNothing() {
    cluster.job = Jobs.with(cluster.job, "/parallelism/ranksPerPod", "3");
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.holding()).containsExactly("Stalled");
    assertThat(cluster.reason()).isEqualTo("InvalidPlan");
    assertThat(cluster.message()).contains("3 does not divide the 4 ranks", "nearest layouts");
  }

  @Test
  void numbersThatAreNoNumbersAreLeftOut() {
    cluster.reconcile();
    train(10, Double.NaN);
    assertThat(cluster.job.getStatus().progress().loss()).isNull();
    assertThat(cluster.job.getStatus().progress().step()).isEqualTo(10);
  }

  private void train(long step, double loss) {
    cluster.runAll();
    cluster.said = status(RunStatus.Phase.Training, step, loss, "2026-01-01T00:01:00Z");
    cluster.reconcile();
  }

  private Duration backoffAfter(int exitCode) {
    cluster.reconcile();
    cluster.runAll();
    cluster.reconcile();
    cluster.exit("demo-0", exitCode, null);
    cluster.reconcile();
    return Duration.between(
        cluster.now, Instant.parse(cluster.job.getStatus().attempt().notBefore()));
  }

  private void suspend(boolean suspend) {
    var status = cluster.job.getStatus();
    cluster.job = Jobs.with(cluster.job, "/suspend", Boolean.toString(suspend));
    cluster.job.setStatus(status);
  }

  private static RunStatus status(RunStatus.Phase phase, long step, double loss, String at) {
    return Jobs.said(phase, step, step / 20 * 20, loss, at);
  }
}
