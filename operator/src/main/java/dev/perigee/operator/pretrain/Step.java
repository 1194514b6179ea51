package dev.perigee.operator.pretrain;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.FailurePolicy;
import dev.perigee.api.GangAttempt;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobSpec;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.GangLife;
import dev.perigee.operator.gang.Nodes;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.WrittenTime;
import dev.perigee.operator.placement.ServedSchedulers;
import dev.perigee.run.RunFiles;
import dev.perigee.run.RunStatus;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeer;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * What one look at a job comes to: a pure function of what is seen.
 *
 * @param known the status that the job had, put right where it differs from what is on record
 * @param remember what to do first of all: what must not be forgotten is written down
 * @param status the status that should be written then, before anything is done
 * @param actions what to do then
 * @param lookAgain when to look again, empty for when something changes
 * @param expired whether the job ended so long ago that it is to be deleted
 */
record Step(
    PretrainJobStatus known,
    Optional<GangAction.UpdateService> remember,
    PretrainJobStatus status,
    List<GangAction> actions,
    Optional<Duration> lookAgain,
    boolean expired) {

  /** The status to be written before the actions: a refusal stands until they were tried again. */
  PretrainJobStatus announced() {
    return actions.isEmpty() ? status : StatusReport.untilTried(known, status);
  }

  /** A job that waits for others is looked at more rarely, by this factor. */
  private static final int HELD_POLLS = 2;

  /**
   * How long the programs of a gang that is up may look for each other by name. With DNS they have
   * met by then. Without, they need the addresses in {@code <job>-peers}, which a kubelet shows a
   * pod up to a minute late unless the pod changes. A write for each pod of each start would be
   * wasted where names resolve, which most do; so only a gang that still looks gets it.
   */
  private static final Duration BY_NAME = Duration.ofSeconds(5);

  /** What a job waits for that is done elsewhere, such as an installation. */
  private static final Duration ELSEWHERE = Duration.ofMinutes(1);

  /**
   * Takes one look.
   *
   * @param job the job with the status that was last written
   * @param observed what is in the cluster
   * @param said what rank 0 says, empty when it says nothing
   * @param neighbours the other jobs of the namespace
   * @param settings what the operator adds
   * @param now the time
   */
  static Step take(
      PretrainJob job,
      ObservedGang observed,
      Optional<RunStatus> said,
      Neighbours neighbours,
      Settings settings,
      Instant now) {
    PretrainJobStatus known =
        JobRecord.trusted(
            Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY), observed, now);
    Decision decision = decide(with(job, known), observed, said, neighbours, settings, now);
    Optional<GangAction.UpdateService> remember = remember(job, decision.status, observed);
    return new Step(
        known,
        remember,
        decision.status,
        decision.actions.stream()
            .filter(action -> remember.isEmpty() || !(action instanceof GangAction.ApplyService))
            .toList(),
        decision.lookAgain,
        decision.expired);
  }

  /** The same job with another status. */
  private static PretrainJob with(PretrainJob job, PretrainJobStatus status) {
    PretrainJob other = new PretrainJob();
    other.setMetadata(job.getMetadata());
    other.setSpec(job.getSpec());
    other.setStatus(status);
    return other;
  }

  /**
   * Where there is a Service already, the record on it is renewed before anybody hears of anything;
   * where there is none, it is created with its record.
   */
  private static Optional<GangAction.UpdateService> remember(
      PretrainJob job, PretrainJobStatus status, ObservedGang observed) {
    Optional<JobRecord> record = JobRecord.of(status, JobRecord.in(observed));
    if (observed.service().isEmpty() || record.isEmpty() || record.equals(JobRecord.in(observed))) {
      return Optional.empty();
    }
    Service service = record.get().on(PretrainPlan.service(job));
    service
        .getMetadata()
        .setResourceVersion(observed.service().get().getMetadata().getResourceVersion());
    return Optional.of(new GangAction.UpdateService(service));
  }

  /** What is decided by what is known. */
  private record Decision(
      PretrainJobStatus status,
      List<GangAction> actions,
      Optional<Duration> lookAgain,
      boolean expired) {}

  private static Decision decide(
      PretrainJob job,
      ObservedGang observed,
      Optional<RunStatus> said,
      Neighbours neighbours,
      Settings settings,
      Instant now) {
    return switch (Prerequisites.of(job, observed, neighbours)) {
      case Prerequisites.Met() -> decide(job, observed, said, settings, now);
      case Prerequisites.Held held ->
          new Decision(
              StatusReport.of(job, held, now),
              List.of(),
              Optional.of(settings.pollInterval().multipliedBy(HELD_POLLS)),
              false);
      case Prerequisites.Resolved(var source) ->
          // Remembered before it is used, as everything is; the next look begins.
          new Decision(
              Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY).with(source),
              List.of(),
              Optional.of(Duration.ofMillis(1)),
              false);
    };
  }

  private static Decision decide(
      PretrainJob job,
      ObservedGang seen,
      Optional<RunStatus> said,
      Settings settings,
      Instant now) {
    PretrainJobStatus before = Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY);
    int generation = before.attempt() == null ? 1 : before.attempt().number();
    boolean ended = before.holds(ConditionType.Complete) || before.holds(ConditionType.Failed);
    Optional<PretrainJobStatus.Scheduling> recorded =
        seen.of(generation).isEmpty() && !ended
            ? Optional.empty()
            : Optional.ofNullable(before.layout()).map(PretrainJobStatus.Layout::scheduling);
    return switch (settings.plan(job, generation, recorded)) {
      case PretrainPlan.Impossible impossible -> {
        if (ended) {
          // It needs no plan any more: it had one that worked, maybe of an operator before this.
          Optional<Duration> left = timeToLive(job, before, now);
          yield new Decision(before, List.of(), left, isOver(left));
        }
        PretrainJobStatus after = StatusReport.of(job, impossible, now);
        // A scheduler that is missing may be installed.
        yield new Decision(after, List.of(), Optional.of(ELSEWHERE), false);
      }
      case PretrainPlan.Workable current -> {
        ObservedGang observed = seen.explained(current.gang(), settings.nodes());
        GangLife life =
            GangLife.next(wish(job, current, observed), memory(before), observed, said, now);
        int next = life.attempt().number();
        PretrainPlan.Workable plan =
            next == generation
                ? current
                : (PretrainPlan.Workable) settings.plan(job, next, recorded);
        PretrainJobStatus after = StatusReport.of(job, plan, life, observed, said, now);
        Optional<Duration> left = timeToLive(job, after, now);
        yield new Decision(
            after,
            GangWork.of(
                job,
                remembering(plan, after),
                life,
                observed,
                isMeeting(life, said, now),
                settings,
                now),
            left.isPresent() ? left : lookAgain(life, observed, settings, now),
            isOver(left));
      }
    };
  }

  private static boolean isOver(Optional<Duration> left) {
    return left.filter(Duration::isZero).isPresent();
  }

  private static PretrainPlan.Workable remembering(
      PretrainPlan.Workable plan, PretrainJobStatus after) {
    Service service = plan.gang().service();
    return new PretrainPlan.Workable(
        plan.run(),
        plan.ranks(),
        plan.gang()
            .withService(
                JobRecord.of(after, Optional.empty()).map(r -> r.on(service)).orElse(service)),
        plan.placement(),
        plan.layout());
  }

  private static GangLife.Wish wish(
      PretrainJob job, PretrainPlan.Workable plan, ObservedGang observed) {
    PretrainJobSpec spec = job.getSpec();
    String start = job.getStatus() == null ? null : job.getStatus().startTime();
    return new GangLife.Wish(
        plan.gang().pods().stream().map(pod -> pod.getMetadata().getName()).toList(),
        spec.suspend(),
        ChangedRun.isNews(
            job,
            plan.run(),
            observed.configMap(PretrainPlan.configMapName(job, plan.generation()))),
        isInPlace(job, plan, observed),
        spec.failurePolicy(),
        spec.activeDeadlineSeconds() == null
            ? null
            : WrittenTime.read(start)
                .map(begun -> begun.plusSeconds(spec.activeDeadlineSeconds()))
                .orElse(null));
  }

  /** Pods stay over a restart when that is asked for and they were told to run exactly this. */
  static boolean isInPlace(PretrainJob job, PretrainPlan.Workable plan, ObservedGang observed) {
    String run = plan.gang().configMap().getData().get(RunFiles.RUN_CONFIG);
    return job.getSpec().failurePolicy().restart() == FailurePolicy.RestartMode.InPlace
        && observed.configMaps().stream()
            .map(c -> c.getData().get(RunFiles.RUN_CONFIG))
            .allMatch(told -> told == null || told.equals(run));
  }

  private static GangLife.Memory memory(PretrainJobStatus status) {
    return new GangLife.Memory(
        status.attempt(),
        status.restarts(),
        status.disruptions(),
        status.lastFailure(),
        status.holds(ConditionType.Complete),
        status
            .condition(ConditionType.Failed)
            .filter(Condition::holds)
            .map(
                c ->
                    new GangLife.State.Failed(
                        ConditionReason.of(c.reason()).orElse(ConditionReason.FailedByRule),
                        c.message()))
            .orElse(null));
  }

  /**
   * What the operator adds to a job.
   *
   * @param trainerImage image of a job that names none
   * @param pollInterval how often a running job is looked at
   * @param served schedulers that can let a gang in
   * @param readers who beside a gang's own pods may reach its HTTP port; empty when gangs are not
   *     closed to others
   * @param nodes what the nodes of the cluster can give
   */
  record Settings(
      String trainerImage,
      Duration pollInterval,
      ServedSchedulers served,
      Optional<List<NetworkPolicyPeer>> readers,
      Nodes nodes) {
    PretrainPlan plan(
        PretrainJob job, int generation, Optional<PretrainJobStatus.Scheduling> recorded) {
      return PretrainPlan.of(job, generation, trainerImage, recorded, served);
    }
  }

  /** Whether the programs are all up and have looked for each other for a while. */
  private static boolean isMeeting(GangLife life, Optional<RunStatus> said, Instant now) {
    return life.attempt().phase() == GangAttempt.Phase.Rendezvous
        && said.map(RunStatus::phase).filter(RunStatus.Phase.Rendezvous::equals).isPresent()
        && WrittenTime.read(life.attempt().phaseTime())
            .filter(since -> !since.plus(BY_NAME).isAfter(now))
            .isPresent();
  }

  /**
   * How long the ended job is still kept, zero for no longer, empty for as long as anybody likes.
   */
  private static Optional<Duration> timeToLive(
      PretrainJob job, PretrainJobStatus status, Instant now) {
    Long seconds = job.getSpec().ttlSecondsAfterFinished();
    if (seconds == null) {
      return Optional.empty();
    }
    return WrittenTime.read(status.completionTime())
        .map(end -> Duration.between(now, end.plusSeconds(seconds)))
        .map(left -> left.isPositive() ? left : Duration.ZERO);
  }

  private static Optional<Duration> lookAgain(
      GangLife life, ObservedGang observed, Settings settings, Instant now) {
    return switch (life.state()) {
      case GangLife.State.Running() -> Optional.of(settings.pollInterval());
      case GangLife.State.Waiting(var left, var notBefore) -> {
        Duration wait = Duration.between(now, notBefore);
        yield Optional.of(
            wait.compareTo(settings.pollInterval()) < 0 && !observed.pods().isEmpty()
                ? settings.pollInterval()
                : wait.isPositive() ? wait : Duration.ofMillis(1));
      }
      case GangLife.State.Deactivated(var left) ->
          Optional.of(left > 0 ? settings.pollInterval() : ELSEWHERE);
      case GangLife.State.Suspended(var left) ->
          left > 0 ? Optional.of(settings.pollInterval()) : Optional.empty();
      case GangLife.State.Complete() -> Optional.empty();
      case GangLife.State.Failed(var reason, var message) -> Optional.empty();
    };
  }
}
