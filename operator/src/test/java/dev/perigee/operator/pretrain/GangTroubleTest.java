package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.ConditionType;
import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.GangAttempt.Phase;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.NodeState;
import dev.perigee.operator.gang.NodeState.Contact;
import dev.perigee.run.RunStatus;
import java.time.Duration;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Gangs that do not come up, do not get on, or lose their node; and statuses that lie. */
class GangTroubleTest {
  private static final NodeState SILENT = new NodeState("n1", Contact.SILENT, Set.of());

  private final FakeCluster cluster = new FakeCluster(Jobs.small());

  /** Of a webhook or a scheduler; the API server takes no condition that is longer. */
  @Test
  void aMessageThatNoConditionTakesIsCut() {
    cluster.reconcile();
    cluster.refuse("demo-1", "x".repeat(40_000));
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("InsufficientCapacity");
    assertThat(cluster.message())
        .startsWith("No node takes demo-1: xxx")
        .endsWith("x…")
        .hasSize(32768);
  }

  @Test
  void theStatusSaysHowFarAStartHasCome() {
    assertThat(phase()).isEqualTo(Phase.Admission);
    cluster.pend(true, null);
    assertThat(phase()).isEqualTo(Phase.Admission);
    assertThat(cluster.reason()).isEqualTo("AwaitingAdmission");
    cluster.pend(false, "0/3 nodes are available");
    assertThat(phase()).isEqualTo(Phase.Scheduling);
    assertThat(cluster.reason()).isEqualTo("InsufficientCapacity");
    cluster.bind("ContainerCreating");
    assertThat(phase()).isEqualTo(Phase.ImagePull);
    cluster.runAll();
    cluster.said = status(RunStatus.Phase.Rendezvous, 0, 0);
    assertThat(phase()).isEqualTo(Phase.Rendezvous);
    cluster.said = status(RunStatus.Phase.Loading, 0, 0);
    assertThat(phase()).isEqualTo(Phase.Loading);
    cluster.said = status(RunStatus.Phase.Training, 0, 0);
    assertThat(phase()).isEqualTo(Phase.FirstStep);
    cluster.said = status(RunStatus.Phase.Training, 1, 0.1);
    assertThat(phase()).isEqualTo(Phase.Training);
  }

  @Test
  void podsThatAreReadyHaveMetEvenWhenTheOperatorCannotReachThem() {
    cluster.reconcile();
    cluster.runAll();
    assertThat(phase()).isEqualTo(Phase.Training);
    cluster.pass(1_000_000);
    assertThat(cluster.reconcile().actions()).isEmpty();
  }

  @Test
  void aQueueMayTakeAsLongAsItLikesUnlessTheJobSaysOtherwise() {
    cluster.reconcile();
    cluster.pend(true, null);
    cluster.pass(10_000_000);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("AwaitingAdmission");
    policy("deadlines", "{admissionSeconds: 60}");
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("AdmissionDeadline");
    assertThat(cluster.holding()).containsExactly("Stalled", "Failed");
  }

  @Test
  void aGpuCountThatNoNodeHasFailsAtItsDeadlineWithTheSchedulersOwnWords() {
    cluster.reconcile();
    cluster.pend(false, "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.");
    cluster.reconcile();
    cluster.pass(86399);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("InsufficientCapacity");
    cluster.pass(1);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("SchedulingDeadline");
    assertThat(cluster.message())
        .isEqualTo(
            "demo-0: no node took the pod within 86400 s"
                + " (failurePolicy.deadlines.schedulingSeconds): 0/3 nodes are available: 3"
                + " Insufficient nvidia.com/gpu.");
    cluster.finishDeletions();
    assertThat(cluster.podNames()).as("nothing is held").isEmpty();
  }

  @Test
  void anImageThatDoesNotExistFailsAtItsDeadline() {
    cluster.reconcile();
    cluster.bind("ImagePullBackOff");
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("ImagePull");
    cluster.pass(1800);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("ImagePullDeadline");
    assertThat(cluster.message()).contains("imagePullSeconds", "ImagePullBackOff");
  }

  @Test
  void aNodeThatDoesNotGetAPodToStartIsSaidInItsKubeletsWordsAndFailsAtTheDeadline() {
    cluster.reconcile();
    cluster.bind("ContainerCreating");
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Starting");
    cluster.node("demo-1", new NodeState("n-1", Contact.HEARD, Set.of("Ready")));
    cluster.hamper("demo-1", "FailedMount: secret not found");
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("PodSetup");
    assertThat(cluster.message())
        .isEqualTo("Node n-1 does not get demo-1 to start: FailedMount: secret not found");
    assertThat(cluster.holding()).containsExactly("Reconciling");
    cluster.hamper("demo-1", null);
    cluster.reconcile();
    assertThat(cluster.reason()).as("it has gone on").isEqualTo("Starting");
    cluster.hamper("demo-0", "FailedMount: secret not found");
    cluster.pass(1800);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("ImagePullDeadline");
    assertThat(cluster.message()).endsWith("imagePullSeconds): FailedMount: secret not found");
  }

  @ParameterizedTest
  @EnumSource(
      value = RunStatus.Phase.class,
      names = {"Rendezvous", "Loading", "Training"})
  void aLaterPhaseThatTakesTooLongRestartsTheGangAndCounts(RunStatus.Phase phase) {
    cluster.reconcile();
    cluster.runAll();
    cluster.said = status(phase, 0, 0);
    cluster.reconcile();
    cluster.pass(10_800);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Restarting");
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.job.getStatus().lastFailure().reason())
        .isEqualTo((phase == RunStatus.Phase.Training ? "FirstStep" : phase.name()) + "Deadline");
  }

  @Test
  void aRuleDecidesWhatAPassedDeadlineComesTo() {
    policy("rules", "[{action: RestartWithoutCounting, podReasons: [SchedulingDeadline]}]");
    cluster.reconcile();
    cluster.pend(false, "no room");
    cluster.reconcile();
    cluster.pass(86400);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Restarting");
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
  }

  @Test
  void aGangThatNoLongerGetsOnIsRestartedWithoutWaitingForASave() {
    train();
    cluster.said = idle(RunStatus.Phase.Training, 60.0, 599);
    cluster.reconcile();
    assertThat(cluster.reason()).as("ten steps of 60 s are not over").isEqualTo("Training");
    cluster.said = idle(RunStatus.Phase.Training, 60.0, 601);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("Hang");
    assertThat(cluster.job.getStatus().lastFailure().message())
        .isEqualTo(
            "demo-0: nothing got on for 601 s in phase Training after step 42; a step takes 60.0"
                + " s");
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.graces).containsEntry("demo-0", 15L).containsEntry("demo-1", 15L);
  }

  @Test
  void aSaveMayTakeTenTimesItsMeasuredTimeAndAFirstOneAsLongAsLoading() {
    train();
    cluster.said = idle(RunStatus.Phase.Saving, 1.0, 899);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure()).as("saves took 90 s").isNull();
    cluster.said = withoutSave(idle(RunStatus.Phase.Saving, 1.0, 7199));
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure()).isNull();
    cluster.said = withoutSave(idle(RunStatus.Phase.Saving, 1.0, 7201));
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("Hang");
  }

  @Test
  void aProgramThatDoesNotAnswerIsNotTakenForHanging() {
    train();
    cluster.said = null;
    cluster.pass(1_000_000);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.job.getStatus().lastFailure()).isNull();
  }

  @Test
  void aLostNodeIsADisruptionAndItsPodIsForgottenBecauseItHasLostItsPeers() {
    train();
    cluster.said = null;
    cluster.node("demo-1", NodeState.gone("n1"));
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().message())
        .isEqualTo("demo-1 is lost (NodeLost): node n1 is lost");
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.podNames()).as("demo-1 never says that it ended").containsExactly("demo-0");
    assertThat(cluster.graces).containsEntry("demo-0", 15L);
  }

  @Test
  void theOnlyPodOfAGangIsNotForgottenWithItsNodeBecauseItMayStillWrite() {
    cluster.job = Jobs.with(cluster.job, "/parallelism", "{data: 4, expert: 4, ranksPerPod: 4}");
    cluster.reconcile();
    cluster.runAll();
    cluster.node("demo-0", NodeState.gone("n1"));
    cluster.reconcile();
    cluster.pass(3600);
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0");
    assertThat(cluster.generations()).containsExactly(1);
    assertThat(cluster.graces.get("demo-0")).isNotEqualTo(0L);
  }

  @Test
  void aGangThatIsOnSilentNodesAsAWholeIsNotForgottenBecauseItMayStillWrite() {
    train();
    cluster.said = null;
    cluster.node("demo-0", SILENT);
    cluster.node("demo-1", new NodeState("n2", Contact.SILENT, Set.of()));
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("NodeLost");
    cluster.pass(3600);
    cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("demo-0", "demo-1");
    assertThat(cluster.generations()).containsExactly(1);
    assertThat(cluster.reason()).isEqualTo("Restarting");
    assertThat(cluster.message()).contains("may still train", "node.kubernetes.io/out-of-service");

    cluster.node("demo-0", new NodeState("n1", Contact.HEARD, Set.of("Ready")));
    cluster.reconcile();
    assertThat(cluster.podNames()).as("demo-1 loses its peer").containsExactly("demo-0");
    cluster.finishDeletions();
    cluster.pass(10);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
  }

  @Test
  void aSilentNodeIsNoFaultWhileTheGangTrains() {
    train();
    cluster.said = idle(RunStatus.Phase.Training, 60.0, 119);
    cluster.node("demo-1", SILENT);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.job.getStatus().lastFailure()).isNull();
    assertThat(cluster.reason()).isEqualTo("Training");
    assertThat(cluster.message())
        .isEqualTo("Steps are being taken. Nothing is heard of the kubelet on n1.");

    cluster.said = idle(RunStatus.Phase.Training, 60.0, 121);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().message())
        .isEqualTo("demo-1 is lost (NodeLost): node n1 is lost");
  }

  @Test
  void aPeerThatIsLostAndSaysNothingIsGivenTheTimeInWhichItsNodeIsFoundSilent() {
    train();
    cluster.said = null;
    cluster.node("demo-1", new NodeState("n1", Contact.HEARD, Set.of("Ready")));
    cluster.exit("demo-0", 69, null);
    cluster.pass(59);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure()).isNull();
    assertThat(cluster.message())
        .isEqualTo("Steps are being taken. demo-0 has lost a peer, which has yet to say why.");
    int writes = cluster.writes;
    cluster.reconcile();
    assertThat(cluster.writes).as("the same look again says the same").isEqualTo(writes);
    cluster.node("demo-1", SILENT);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("NodeLost");
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.podNames()).as("demo-1 has lost its peer").containsExactly("demo-0");
  }

  @Test
  void aPeerThatSaysNothingOnANodeThatIsHeardOfIsNotWaitedForForEver() {
    train();
    cluster.said = null;
    cluster.node("demo-1", new NodeState("n1", Contact.HEARD, Set.of("Ready")));
    cluster.exit("demo-0", 69, null);
    cluster.pass(60);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("LostPeer");
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
  }

  @Test
  void aNodeThatIsGoneIsAFaultWhateverTheProgramsSay() {
    train();
    cluster.said = idle(RunStatus.Phase.Training, 60.0, 1);
    cluster.node("demo-1", NodeState.gone("n1"));
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("NodeLost");
  }

  @Test
  void addressesArePublishedOnceWhenAllPodsHaveOne() {
    cluster.reconcile();
    cluster.bind("ContainerCreating");
    cluster.reconcile();
    assertThat(cluster.configMapNames()).containsExactly("demo-attempt-1");
    cluster.runAll();
    cluster.reconcile();
    assertThat(cluster.configMapNames()).containsExactly("demo-attempt-1", "demo-peers");
    assertThat(cluster.configMap("demo-peers").getData().get("ranks.json"))
        .contains("\"ip\" : \"127.0.0.2\"", "\"ip\" : \"127.0.0.3\"");
    assertThat(cluster.reconcile().actions()).isEmpty();
    cluster.lose("demo-1", PodReason.Evicted);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(10);
    cluster.reconcile();
    cluster.reconcile();
    assertThat(cluster.configMapNames()).containsExactly("demo-attempt-2", "demo-peers");
    assertThat(cluster.configMap("demo-peers").getData().get("ranks.json"))
        .as("until all pods of the second start have one")
        .contains("\"generation\" : 1");
  }

  @Test
  void programsThatDoNotFindEachOtherByNameAreShownTheAddressesOnce() {
    cluster.reconcile();
    cluster.runAll();
    cluster.said = status(RunStatus.Phase.Rendezvous, 0, 0);
    cluster.reconcile();
    cluster.pass(4);
    assertThat(cluster.reconcile().actions()).as("names may yet resolve").isEmpty();
    cluster.pass(1);
    assertThat(cluster.reconcile().actions())
        .containsExactly(
            new GangAction.ShowPeers("demo-0", cluster.uid("demo-0"), 1),
            new GangAction.ShowPeers("demo-1", cluster.uid("demo-1"), 1));
    cluster.pass(10);
    assertThat(cluster.reconcile().actions()).as("once for each start").isEmpty();
  }

  @ParameterizedTest
  @EnumSource(
      value = RunStatus.Phase.class,
      names = {"Loading", "Training"})
  void programsThatHaveMetAreLeftAloneHoweverLongTheyTake(RunStatus.Phase phase) {
    cluster.reconcile();
    cluster.runAll();
    cluster.said = status(RunStatus.Phase.Rendezvous, 0, 0);
    cluster.reconcile();
    cluster.said = status(phase, 0, 0);
    cluster.pass(100);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.reconcile().actions()).isEmpty();
  }

  @Test
  void aNodeConditionThatTheJobNamesBreaksTheGangAndCounts() {
    policy("nodeConditions", "[GpuUnhealthy]");
    train();
    cluster.node("demo-1", new NodeState("n1", Contact.HEARD, Set.of("Ready", "GpuUnhealthy")));
    cluster.said = null;
    cluster.reconcile();
    assertThat(cluster.job.getStatus().lastFailure().message())
        .isEqualTo("demo-1 is lost (NodeCondition): node n1 has GpuUnhealthy");
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.graces.get("demo-0")).as("all can still save").isNull();
  }

  @Test
  void podsGetTheTimeThatASaveWasMeasuredToTake() {
    cluster.reconcile();
    assertThat(Grace.seconds(cluster.job)).as("before anything is known").isEqualTo(600);
    cluster.runAll();
    cluster.said = idle(RunStatus.Phase.Training, 12.0, 1); // saves take 90 s
    cluster.reconcile();
    assertThat(Grace.seconds(cluster.job)).isEqualTo(60 + 2 * (90 + 12));
    var asked = Jobs.with(cluster.job, "/podOverrides/terminationGracePeriodSeconds", "33");
    assertThat(Grace.seconds(asked)).isEqualTo(33);
  }

  @Test
  void aJobThatIsNotDoneInTimeFailsAndTimeSpentSuspendedDoesNotCount() {
    spec("activeDeadlineSeconds", "1000");
    train();
    cluster.pass(900);
    spec("suspend", "true");
    cluster.said = null;
    cluster.reconcile();
    assertThat(cluster.job.getStatus().startTime()).isNull();
    cluster.finishDeletions();
    cluster.pass(5000);
    spec("suspend", "false");
    cluster.reconcile();
    cluster.reconcile();
    cluster.pass(999);
    cluster.reconcile();
    assertThat(cluster.holding()).doesNotContain("Failed");
    cluster.pass(1);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("DeadlineExceeded");
    cluster.pass(100);
    cluster.reconcile();
    assertThat(cluster.reason()).as("stays").isEqualTo("DeadlineExceeded");
  }

  @Test
  void anEndedJobIsKeptForItsTimeToLive() {
    spec("ttlSecondsAfterFinished", "3600");
    train();
    assertThat(cluster.reconcile().expired()).isFalse();
    cluster.exit("demo-0", 0, null);
    cluster.exit("demo-1", 0, null);
    Step end = cluster.reconcile();
    assertThat(end.expired()).isFalse();
    assertThat(end.lookAgain()).contains(Duration.ofHours(1));
    cluster.pass(3599);
    assertThat(cluster.reconcile().expired()).isFalse();
    cluster.pass(1);
    assertThat(cluster.reconcile().expired()).isTrue();
  }

  @Test
  void aStatusThatSomebodyWipedIsMadeAgainFromWhatIsThere() {
    train();
    cluster.said = null;
    cluster.exit("demo-1", 137, null);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(10);
    cluster.reconcile();
    train();
    cluster.job.setStatus(PretrainJobStatus.EMPTY);
    Step step = cluster.reconcile();
    assertThat(step.actions()).as("the pods of the second start go on").isEmpty();
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(2);
    assertThat(cluster.job.getStatus().attempt().formed()).isTrue();
    assertThat(cluster.reason()).isEqualTo("Training");
  }

  @ParameterizedTest
  @EnumSource(
      value = ConditionType.class,
      names = {"Complete", "Failed", "Suspended", "Stalled"})
  void aConditionThatSomebodySetIsSetBack(ConditionType type) {
    train();
    PretrainJobStatus right = cluster.job.getStatus();
    cluster.job.setStatus(Jobs.withCondition(right, type));
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.holding()).containsExactly("Ready");
    assertThat(cluster.reason()).isEqualTo("Training");
  }

  @Test
  void anAttemptThatSomebodyCountedUpIsCountedBack() {
    train();
    cluster.job.setStatus(Jobs.edited(cluster.job.getStatus(), "{attempt: {number: 17}}"));
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(1);
  }

  @Test
  void aRunThatWasSuspendedChangedAndResumedFasterThanTheOperatorLooksStartsAnew() {
    train();
    spec("parallelism", "{data: 2, expert: 2, ranksPerPod: 1}");
    cluster.job.getMetadata().setGeneration(4L);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("Restarting");
    assertThat(cluster.message()).doesNotContain("broke");
    cluster.finishDeletions();
    cluster.said = null;
    cluster.reconcile();
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
    assertThat(cluster.job.getStatus().layout().ranks()).isEqualTo(2);
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.job.getStatus().disruptions()).isZero();
  }

  @Test
  void anotherGenerationOfTheSameRunMovesNothing() {
    train();
    policy("maxRestarts", "7");
    cluster.job.getMetadata().setGeneration(4L);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.job.getStatus().observedGeneration()).isEqualTo(4);
  }

  @Test
  void numbersOfAnEarlierAttemptAreMarkedAsSuch() {
    train();
    assertThat(cluster.job.getStatus().progress().attempt()).isEqualTo(1);
    cluster.said = null;
    cluster.lose("demo-1", PodReason.Evicted);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(10);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().attempt().number()).isEqualTo(2);
    assertThat(cluster.job.getStatus().progress().attempt()).isEqualTo(1);
    train();
    assertThat(cluster.job.getStatus().progress().attempt()).isEqualTo(2);
  }

  private Phase phase() {
    cluster.reconcile();
    return cluster.job.getStatus().attempt().phase();
  }

  private void train() {
    cluster.reconcile();
    cluster.runAll();
    cluster.said = status(RunStatus.Phase.Training, 42, 0.5);
    cluster.reconcile();
  }

  private void policy(String field, String value) {
    spec("failurePolicy/" + field, value);
  }

  private void spec(String field, String value) {
    var status = cluster.job.getStatus();
    cluster.job = Jobs.with(cluster.job, "/" + field, value);
    cluster.job.setStatus(status);
  }

  private static RunStatus idle(RunStatus.Phase phase, double stepSeconds, double seconds) {
    return new RunStatus(
        phase,
        null,
        42,
        40L,
        100,
        43008,
        2.0,
        1.0,
        1e-3,
        500.0,
        12.0,
        0,
        1.2,
        "x",
        null,
        "2026-01-01T00:01:00Z",
        stepSeconds,
        90.0,
        "d",
        seconds);
  }

  private static RunStatus withoutSave(RunStatus s) {
    return new RunStatus(
        s.phase(),
        null,
        42,
        null,
        100,
        43008,
        2.0,
        1.0,
        1e-3,
        500.0,
        12.0,
        0,
        1.2,
        null,
        null,
        "2026-01-01T00:01:00Z",
        s.stepSeconds(),
        null,
        null,
        s.idleSeconds());
  }

  private static RunStatus status(RunStatus.Phase phase, long step, double stepSeconds) {
    boolean stepped = step > 0;
    return new RunStatus(
        phase,
        null,
        step,
        null,
        100,
        step * 1024,
        stepped ? 2.0 : null,
        null,
        null,
        null,
        null,
        null,
        null,
        null,
        null,
        "2026-01-01T00:01:00Z",
        stepped ? stepSeconds : null,
        null,
        null,
        0.1);
  }
}
