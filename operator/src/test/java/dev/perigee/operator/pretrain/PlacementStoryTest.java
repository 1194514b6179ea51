package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.SchedulingSpec.Adapter;
import dev.perigee.operator.placement.ServedSchedulers;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** A job and the schedulers of its cluster. */
class PlacementStoryTest {
  private static final ServedSchedulers POD_GROUP =
      new ServedSchedulers(Optional.empty(), false, Optional.of("v1alpha2"));

  @Test
  void everyStartHasAGroupOfItsOwnAndTheOldOneIsGivenBack() {
    FakeCluster cluster = new FakeCluster(Jobs.small());
    cluster.served = POD_GROUP;
    cluster.reconcile();
    assertThat(cluster.groups).containsExactly("demo-attempt-1");
    assertThat(cluster.job.getStatus().layout().scheduling())
        .satisfies(
            s -> {
              assertThat(s.adapter()).isEqualTo(Adapter.PodGroup);
              assertThat(s.apiVersion()).isEqualTo("scheduling.k8s.io/v1alpha2");
              assertThat(s.group()).isEqualTo("demo-attempt-1");
            });

    cluster.runAll();
    cluster.reconcile();
    cluster.lose("demo-1", PodReason.Evicted);
    cluster.reconcile();
    assertThat(cluster.groups).isEmpty();
    cluster.finishDeletions();
    cluster.pass(60);
    cluster.reconcile();
    assertThat(cluster.groups).containsExactly("demo-attempt-2");
  }

  @Test
  void aStartUnderWayDoesNotMoveToASchedulerThatIsInstalledMeanwhile() {
    FakeCluster cluster = new FakeCluster(Jobs.small());
    cluster.reconcile();
    cluster.served = POD_GROUP;
    cluster.reconcile();
    assertThat(cluster.groups).isEmpty();
    assertThat(cluster.job.getStatus().layout().scheduling().adapter()).isEqualTo(Adapter.None);
  }

  @Test
  void aJobWaitsForASchedulerThatIsNotThereAndSaysSo() {
    PretrainJob job = Jobs.with(Jobs.small(), "/scheduling", "{adapter: Kueue, queue: team-a}");
    FakeCluster cluster = new FakeCluster(job);
    Step step = cluster.reconcile();
    assertThat(cluster.podNames()).isEmpty();
    assertThat(cluster.reason()).isEqualTo("InvalidPlan");
    assertThat(cluster.message())
        .isEqualTo(
            "scheduling.adapter: Kueue is asked for, but the API server does not serve"
                + " kueue.x-k8s.io; install it, or use adapter None or Auto");
    assertThat(step.lookAgain()).isPresent();

    cluster.served = new ServedSchedulers(Optional.of("v1beta2"), false, Optional.empty());
    cluster.reconcile();
    assertThat(cluster.podNames()).hasSize(2);
    assertThat(cluster.job.getStatus().layout().scheduling().queue()).isEqualTo("team-a");
  }

  @Test
  void aGangThatAQueueHoldsSaysWhyInTheQueuesWords() {
    PretrainJob job =
        Jobs.with(
            Jobs.with(Jobs.small(), "/scheduling", "{adapter: Kueue, queue: team-a}"),
            "/failurePolicy/deadlines",
            "{admissionSeconds: 60}");
    FakeCluster cluster = new FakeCluster(job);
    cluster.served = new ServedSchedulers(Optional.of("v1beta2"), false, Optional.empty());
    cluster.reconcile();
    cluster.pend(true, null);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("AwaitingAdmission");
    assertThat(cluster.message()).isEqualTo("The pods wait for a queue or quota to let them in.");

    cluster.queueSays = "insufficient quota for cpu in flavor plain";
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("AwaitingAdmission");
    assertThat(cluster.message())
        .isEqualTo(
            "The pods wait for a queue or quota to let them in: insufficient quota for cpu in"
                + " flavor plain");

    cluster.pass(61);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("AdmissionDeadline");
    assertThat(cluster.message()).endsWith(": insufficient quota for cpu in flavor plain");
  }

  @Test
  void aJobThatIsTurnedAwayFromItsQueueWaitsUntilSomebodySuspendsAndResumesIt() {
    FakeCluster cluster = admitted("{}");
    cluster.lose("demo-1", PodReason.Deactivated);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("AwaitingAdmission");
    assertThat(cluster.events.getLast().reason()).isEqualTo("AwaitingAdmission");
    assertThat(cluster.events.getLast().warning()).as("no wait that ends by itself").isTrue();
    assertThat(cluster.message())
        .isEqualTo(
            "Workload demo-attempt-1 was deactivated; the pods save and go; the job goes to its"
                + " queue again when it has been suspended and resumed: demo-1 is lost"
                + " (Deactivated)");
    assertThat(cluster.holding()).containsExactly("Reconciling");
    cluster.finishDeletions();
    cluster.pass(3600);
    cluster.reconcile();
    assertThat(cluster.reconcile().lookAgain()).contains(Duration.ofMinutes(1));
    assertThat(cluster.podNames()).isEmpty();
    assertThat(cluster.holding()).containsExactly("Stalled");
    assertThat(cluster.message())
        .startsWith("Workload demo-attempt-1 was deactivated; the job goes to its queue again");
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);

    suspend(cluster, true);
    cluster.reconcile();
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.reason()).isEqualTo("Suspended");
    suspend(cluster, false);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
  }

  @Test
  void aRuleMayRestartOrFailAJobThatIsTurnedAway() {
    FakeCluster restarting = admitted("{rules: [{podReasons: [Deactivated], action: Restart}]}");
    restarting.lose("demo-1", PodReason.Deactivated);
    restarting.reconcile();
    assertThat(restarting.reason()).isEqualTo("Restarting");
    FakeCluster failing = admitted("{rules: [{podReasons: [Deactivated], action: Fail}]}");
    failing.lose("demo-1", PodReason.Deactivated);
    failing.reconcile();
    assertThat(failing.reason()).isEqualTo("FailedByRule");
  }

  @Test
  void aDeadlineOfTheJobGoesOnWhileItIsTurnedAway() {
    FakeCluster cluster = admitted("{}");
    cluster.lose("demo-1", PodReason.Deactivated);
    cluster.reconcile();
    cluster.finishDeletions();
    PretrainJobStatus status = cluster.job.getStatus();
    cluster.job = Jobs.with(cluster.job, "/activeDeadlineSeconds", "60");
    cluster.job.setStatus(status);
    cluster.pass(61);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("DeadlineExceeded");
  }

  /**
   * Each start is a Workload of its own, so that Kueue's own limit never counts further than one.
   */
  @Test
  void startsThatNeverGetReadyInTimeCountAndComeToAnEnd() {
    FakeCluster cluster = admitted("{maxRestarts: 2, backoffSeconds: 1}");
    cluster.lose("demo-1", PodReason.Evicted);
    again(cluster);
    for (int i = 1; i <= 2; i++) {
      cluster.bind("ContainerCreating");
      cluster.reconcile();
      cluster.lose("demo-1", PodReason.ReadyDeadline);
      again(cluster);
      assertThat(cluster.job.getStatus().restarts()).isEqualTo(i);
    }
    cluster.bind("ContainerCreating");
    cluster.reconcile();
    cluster.lose("demo-1", PodReason.ReadyDeadline);
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("TooManyRestarts");
  }

  @Test
  void aGangThatWasReadyAndThenWaitedForAPodInVainIsEvictedAndDoesNotCount() {
    FakeCluster cluster = admitted("{}");
    cluster.lose("demo-1", PodReason.ReadyDeadline);
    cluster.reconcile();
    assertThat(cluster.job.getStatus().restarts()).isZero();
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
    assertThat(cluster.job.getStatus().lastFailure().reason()).isEqualTo("Evicted");
  }

  @Test
  void aJobThatIsOverStaysSoWhenItsPodsAndItsSchedulerAreGone() {
    for (int code : new int[] {0, 64}) {
      FakeCluster cluster = admitted("{}");
      cluster.exit("demo-0", code, null);
      cluster.exit("demo-1", code, null);
      cluster.reconcile();
      List<String> over = cluster.holding();
      PretrainJobStatus status = cluster.job.getStatus();
      cluster.vanish("demo-0");
      cluster.vanish("demo-1");
      cluster.served = ServedSchedulers.NONE;
      cluster.reconcile();
      assertThat(cluster.holding()).isEqualTo(over);
      assertThat(cluster.job.getStatus()).isEqualTo(status);
      assertThat(cluster.reconcile().remember()).isEmpty();
    }
  }

  private static void again(FakeCluster cluster) {
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(400);
    cluster.reconcile();
  }

  /** A job whose first start Kueue has let in. */
  private static FakeCluster admitted(String policy) {
    PretrainJob job = Jobs.with(Jobs.small(), "/scheduling", "{adapter: Kueue, queue: team-a}");
    FakeCluster cluster = new FakeCluster(Jobs.with(job, "/failurePolicy", policy));
    cluster.served = new ServedSchedulers(Optional.of("v1beta2"), false, Optional.empty());
    cluster.reconcile();
    cluster.runAll();
    cluster.reconcile();
    return cluster;
  }

  private static void suspend(FakeCluster cluster, boolean suspend) {
    PretrainJobStatus status = cluster.job.getStatus();
    cluster.job = Jobs.with(cluster.job, "/suspend", Boolean.toString(suspend));
    cluster.job.setStatus(status);
  }

  @Test
  void theGroupOfAJobWithTheLongestNameFitsIntoALabel() {
    String longest = "j".repeat(63);
    assertThat(JobNames.group(longest, 1))
        .hasSize(63)
        .endsWith("-attempt-1")
        .isNotEqualTo(JobNames.group("j".repeat(62) + "k", 1));
  }

  @Test
  void deviceClaimsReachThePodsContainer() {
    PretrainJob job =
        Jobs.with(
            Jobs.small(),
            "/podOverrides/resourceClaims",
            "[{name: gpus, resourceClaimTemplateName: eight-gpus}]");
    var plan = (PretrainPlan.Workable) PretrainPlan.of(job, 1, "image");
    var spec = plan.gang().pods().getFirst().getSpec();
    assertThat(spec.getResourceClaims())
        .singleElement()
        .satisfies(
            c -> {
              assertThat(c.getName()).isEqualTo("gpus");
              assertThat(c.getResourceClaimTemplateName()).isEqualTo("eight-gpus");
            });
    assertThat(spec.getContainers().getFirst().getResources().getClaims())
        .singleElement()
        .satisfies(c -> assertThat(c.getName()).isEqualTo("gpus"));
  }
}
