package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.Condition;
import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.run.RunStatus;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Somebody edits a status, or wipes it: nothing comes of it but that it is written anew. */
class EditedStatusTest {
  private static final String FAILED =
      """
      {type: Failed, status: "True", reason: TooManyRestarts, message: x, observedGeneration: 1,
       lastTransitionTime: "2026-01-01T00:00:00Z"}\
      """;

  private final FakeCluster cluster =
      new FakeCluster(Jobs.with(Jobs.small(), "/activeDeadlineSeconds", "100000"));

  static Stream<String> edits() {
    return Stream.of(
        "{restarts: 0}",
        "{restarts: 99}",
        "{restarts: -1}",
        "{restarts: null}",
        "{disruptions: 0}",
        "{disruptions: 99}",
        "{attempt: {number: 1}}",
        "{attempt: {number: 2}}",
        "{attempt: {number: 4}}",
        "{attempt: {number: 99}}",
        "{attempt: {number: -3}}",
        "{attempt: {number: null}}",
        "{attempt: {number: 4, formed: false, phase: null, phaseTime: null}, restarts: 2}",
        "{attempt: {formed: null}}",
        "{attempt: {notBefore: '2099-01-01T00:00:00Z'}}",
        "{attempt: {notBefore: tomorrow}}",
        "{attempt: {phase: Rendezvous, phaseTime: '2020-01-01T00:00:00Z'}}",
        "{attempt: {phaseTime: '2020-01-01T00:00:00Z'}}",
        "{attempt: null}",
        "{startTime: '2020-01-01T00:00:00Z'}",
        "{startTime: null}",
        "{completionTime: '2020-01-01T00:00:00Z'}",
        "{lastFailure: null}",
        "{lastFailure: {attempt: 3, action: Fail, message: x}}",
        "{lastFailure: {attempt: 3, action: Fail}, conditions: [" + FAILED + "]}",
        "{conditions: [" + FAILED.replace("Failed", "Complete") + "]}",
        "{conditions: null}",
        "{layout: null, observedGeneration: 99}",
        "{progress: {step: null}}",
        "{lastDurableCheckpoint: {step: 7, path: elsewhere, digest: bad}}",
        "{source: {pretrainJob: other, checkpoint: {step: 1, path: x, digest: y}}}",
        WIPED);
  }

  private static final String WIPED =
      "{conditions: null, layout: null, attempt: null, restarts: null, disruptions: null,"
          + " lastFailure: null, progress: null, evaluation: null, lastDurableCheckpoint: null,"
          + " source: null, startTime: null, completionTime: null, observedGeneration: null}";

  @ParameterizedTest
  @MethodSource("edits")
  void aGangThatTrainsGoesOnAndTheStatusIsSetBack(String edit) {
    breakTwice();
    train(60);
    assertSetBack(edit);
    assertThat(cluster.generations()).containsExactly(3);
  }

  @ParameterizedTest
  @MethodSource("edits")
  void aGangThatStartsGoesOnToStart(String edit) {
    breakTwice();
    cluster.pass(30);
    cluster.bind("ContainerCreating");
    cluster.reconcile();
    assertSetBack(edit);
    assertThat(cluster.generations()).containsExactly(3);
  }

  /** The deadline of what a start really waits for goes on. */
  @ParameterizedTest
  @ValueSource(strings = {"Admission", "Scheduling", "ImagePull", "Rendezvous", "Loading"})
  void aPhaseThatIsYetToComeSwitchesNoDeadlineOff(String waitsFor) {
    FakeCluster waiting =
        new FakeCluster(
            Jobs.with(
                Jobs.small(),
                "/failurePolicy",
                "{maxRestarts: 0, deadlines: {admissionSeconds: 60, schedulingSeconds: 60,"
                    + " imagePullSeconds: 60, rendezvousSeconds: 60, loadingSeconds: 60}}"));
    waiting.reconcile();
    switch (waitsFor) {
      case "Admission" -> waiting.pend(true, null);
      case "Scheduling" -> waiting.pend(false, "no node has room");
      case "ImagePull" -> waiting.bind("ImagePullBackOff");
      default -> {
        waiting.runAll();
        waiting.said =
            Jobs.said(RunStatus.Phase.valueOf(waitsFor), 0, 0, 0, "2026-01-01T00:00:00Z");
      }
    }
    waiting.reconcile();
    waiting.job.setStatus(Jobs.edited(waiting.job.getStatus(), "{attempt: {phase: Training}}"));
    waiting.reconcile();
    assertThat(waiting.job.getStatus().attempt().phase().name()).isEqualTo(waitsFor);
    waiting.pass(61);
    waiting.reconcile();
    assertThat(waiting.job.getStatus().lastFailure().reason()).isEqualTo(waitsFor + "Deadline");
  }

  /** Nothing is in the cluster then from which the count could be seen. */
  @ParameterizedTest
  @MethodSource("edits")
  void aRestartThatIsDueComesAndCountsOnce(String edit) {
    breakTwice();
    train(60);
    cluster.said = null;
    cluster.lose("demo-1", PodReason.Evicted);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("BackingOff");
    assertSetBack(edit);
    cluster.pass(400);
    cluster.reconcile();
    assertThat(cluster.generations()).as("one that was never used").containsExactly(4);
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(2);
  }

  @ParameterizedTest
  @MethodSource("edits")
  void aSuspendedJobStaysSoAndResumesWithAnUnusedNumber(String edit) {
    breakTwice();
    train(60);
    cluster.said = null;
    suspend(true);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.reconcile();
    assertSetBack(edit);
    suspend(false);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(4);
  }

  @ParameterizedTest
  @MethodSource("edits")
  void aJobThatEndedStaysEnded(String edit) {
    breakTwice();
    train(60);
    cluster.said = null;
    cluster.exit("demo-1", 0, null);
    cluster.exit("demo-0", 0, "{\"phase\": \"Done\", \"step\": 100, \"loss\": 0.5}");
    cluster.reconcile();
    assertSetBack(edit);
    assertThat(cluster.job.getStatus().progress().loss()).isEqualTo(0.5);
    cluster.vanish("demo-0");
    cluster.vanish("demo-1");
    assertSetBack(edit);
    assertThat(cluster.podNames()).isEmpty();
  }

  @ParameterizedTest
  @MethodSource("edits")
  void aJobThatFailedStaysFailed(String edit) {
    breakTwice();
    train(60);
    cluster.said = null;
    cluster.exit("demo-1", 64, "no such folder");
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("BadConfig");
    assertSetBack(edit);
    cluster.vanish("demo-1");
    assertSetBack(edit);
    assertThat(cluster.podNames()).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(strings = {"{restarts: 99, attempt: {number: 5}}", "{attempt: {formed: true}}"})
  void aJobOfWhichNothingWasEverMadeBeginsAtTheBeginning(String edit) {
    suspend(true);
    cluster.reconcile();
    PretrainJobStatus right = cluster.job.getStatus();
    cluster.job.setStatus(Jobs.edited(right, edit));
    cluster.reconcile();
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(1);
    suspend(false);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(1);
  }

  @Test
  void whoDiesBetweenRememberingAndReportingCountsOnceAndTellsOnce() {
    breakTwice();
    train(60);
    cluster.said = null;
    cluster.events.clear();
    cluster.exit("demo-1", 137, null);
    cluster.reconcile(FakeCluster.Death.AFTER_REMEMBERING);
    assertThat(cluster.job.getStatus().restarts()).as("reported").isEqualTo(1);
    cluster.vanish("demo-1"); // so that what happened can no longer be seen
    cluster.reconcile();
    cluster.reconcile();
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(2);
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
    assertThat(cluster.job.getStatus().lastFailure().exitCode()).isEqualTo(137);
    assertThat(cluster.events).extracting(Transition::reason).containsExactly("Restarting");
  }

  @Test
  void aRecordThatIsGoneOrUnreadableOrOldIsWrittenAnewFromTheStatus() {
    breakTwice();
    train(60);
    PretrainJobStatus right = cluster.job.getStatus();
    for (String broken : List.of("", "{", "{\"attempt\": 1, \"restarts\": 0}", "[]")) {
      cluster.annotate(JobRecord.ANNOTATION, broken);
      assertThat(cluster.reconcile().actions()).isEmpty();
      assertThat(cluster.job.getStatus()).isEqualTo(right);
      assertThat(cluster.annotation(JobRecord.ANNOTATION)).contains("\"restarts\":1");
    }
  }

  @Test
  void theRecordIsWrittenOnceForEachStart() {
    breakTwice();
    train(60);
    int writes = cluster.writes;
    cluster.pass(60);
    assertThat(cluster.reconcile().remember()).isEmpty();
    assertThat(cluster.writes).isEqualTo(writes);
  }

  /** One restart that counts and one that does not: the third start. */
  private void breakTwice() {
    cluster.reconcile();
    train(20);
    cluster.said = null;
    cluster.exit("demo-1", 137, null);
    goOn();
    train(40);
    cluster.said = null;
    cluster.lose("demo-0", PodReason.Evicted);
    goOn();
  }

  private void goOn() {
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(400);
    cluster.reconcile();
  }

  private void train(long step) {
    cluster.runAll();
    cluster.said =
        Jobs.said(RunStatus.Phase.Training, step, step / 20 * 20, 2.0, "2026-01-01T00:01:00Z");
    cluster.reconcile();
  }

  private void assertSetBack(String edit) {
    PretrainJobStatus right = cluster.job.getStatus();
    List<String> pods = cluster.podNames();
    String record = cluster.annotation(JobRecord.ANNOTATION);
    cluster.pass(1);
    cluster.job.setStatus(Jobs.edited(right, edit));
    Step step = cluster.reconcile();
    assertThat(step.actions().stream().filter(a -> !(a instanceof GangAction.DeletePod)))
        .as("nothing is made or moved")
        .isEmpty();
    cluster.reconcile();
    assertThat(cluster.podNames()).isEqualTo(pods);
    assertThat(cluster.annotation(JobRecord.ANNOTATION)).isEqualTo(record);
    assertThat(meaning(cluster.job.getStatus())).isEqualTo(meaning(right));
  }

  /** Without what is seen anew: since when things are so, how far they are, numbers of steps. */
  private static PretrainJobStatus meaning(PretrainJobStatus status) {
    return Jobs.edited(
        new PretrainJobStatus(
            status.observedGeneration(),
            status.conditions().stream()
                .map(c -> new Condition(c.type(), c.status(), c.reason(), c.message(), "", 1))
                .toList(),
            status.layout(),
            status.attempt(),
            status.restarts(),
            status.disruptions(),
            status.lastFailure(),
            null,
            null,
            // Before the end only the program knows the newest, and says it.
            status.completionTime() == null ? null : status.lastDurableCheckpoint(),
            status.source(),
            status.startTime(),
            status.completionTime()),
        "{attempt: {phase: null, phaseTime: null, formed: null}}");
  }

  private void suspend(boolean suspend) {
    var status = cluster.job.getStatus();
    cluster.job = Jobs.with(cluster.job, "/suspend", Boolean.toString(suspend));
    cluster.job.setStatus(status);
  }
}
