package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.Gang;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.PodState;
import dev.perigee.operator.placement.ServedSchedulers;
import dev.perigee.run.RunStatus;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * What one look at a job comes to: a pure function of what is seen.
 *
 * @param status the status that should be written, before anything is done
 * @param actions what to do then
 * @param lookAgain when to look again, empty for when something changes
 */
record Step(PretrainJobStatus status, List<GangAction> actions, Optional<Duration> lookAgain) {

  private static final Duration MISSING_SCHEDULER = Duration.ofMinutes(1);

  /**
   * Takes one look.
   *
   * @param job the job with the status that was last written
   * @param observed what is in the cluster
   * @param said what rank 0 says, empty when it says nothing
   * @param settings what the operator adds
   * @param now the time
   */
  static Step take(
      PretrainJob job,
      ObservedGang observed,
      Optional<RunStatus> said,
      Settings settings,
      Instant now) {
    PretrainJobStatus before = Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY);
    int generation = before.attempt() == null ? 1 : before.attempt().number();
    Optional<PretrainJobStatus.Scheduling> recorded =
        observed.of(generation).isEmpty()
            ? Optional.empty()
            : Optional.ofNullable(before.layout()).map(PretrainJobStatus.Layout::scheduling);
    return switch (settings.plan(job, generation, recorded)) {
      case PretrainPlan.Impossible impossible -> {
        PretrainJobStatus after = StatusReport.of(job, impossible, now);
        // A scheduler that is missing may be installed.
        yield new Step(after, List.of(), Optional.of(MISSING_SCHEDULER));
      }
      case PretrainPlan.Workable current -> {
        List<String> names =
            current.gang().pods().stream().map(pod -> pod.getMetadata().getName()).toList();
        Life life = Life.next(job, names, observed, now);
        int next = life.attempt().number();
        PretrainPlan.Workable plan =
            next == generation
                ? current
                : (PretrainPlan.Workable) settings.plan(job, next, recorded);
        PretrainJobStatus after = StatusReport.of(job, plan, life, observed, said, now);
        yield new Step(
            after,
            actions(job.getMetadata().getName(), plan, life, observed),
            lookAgain(life, observed, settings, now));
      }
    };
  }

  /**
   * What the operator adds to a job.
   *
   * @param trainerImage image of a job that names none
   * @param pollInterval how often a running job is looked at
   * @param served schedulers that can let a gang in
   */
  record Settings(String trainerImage, Duration pollInterval, ServedSchedulers served) {
    PretrainPlan plan(
        PretrainJob job, int generation, Optional<PretrainJobStatus.Scheduling> recorded) {
      return PretrainPlan.of(job, generation, trainerImage, recorded, served);
    }
  }

  private static List<GangAction> actions(
      String job, PretrainPlan.Workable plan, Life life, ObservedGang observed) {
    return switch (life.state()) {
      case Life.State.Running() ->
          letGo(job, plan, observed.notOf(plan.generation()), Gang.start(plan.gang(), observed));
      case Life.State.Waiting(var left, var notBefore) ->
          letGo(job, plan, observed.pods(), Gang.stop(observed));
      case Life.State.Suspended(var left) -> letGo(job, plan, observed.pods(), Gang.stop(observed));
      case Life.State.Complete() -> Gang.finish(observed);
      case Life.State.Failed(var reason, var message) -> Gang.finish(observed);
    };
  }

  /**
   * With the pods of a start goes what it holds at its scheduler: Kueue keeps a pod that is being
   * deleted until its Workload is gone.
   */
  private static List<GangAction> letGo(
      String job, PretrainPlan.Workable plan, List<PodState> leaving, List<GangAction> actions) {
    return Stream.concat(
            actions.stream(),
            leaving.stream()
                .map(PodState::generation)
                .distinct()
                .map(start -> JobNames.group(job, start))
                .flatMap(group -> plan.placement().held(group).stream())
                .map(h -> new GangAction.DeleteGroup(h.apiVersion(), h.plural(), h.name())))
        .toList();
  }

  private static Optional<Duration> lookAgain(
      Life life, ObservedGang observed, Settings settings, Instant now) {
    return switch (life.state()) {
      case Life.State.Running() -> Optional.of(settings.pollInterval());
      case Life.State.Waiting(var left, var notBefore) -> {
        Duration wait = Duration.between(now, notBefore);
        yield Optional.of(
            wait.compareTo(settings.pollInterval()) < 0 && !observed.pods().isEmpty()
                ? settings.pollInterval()
                : wait.isPositive() ? wait : Duration.ofMillis(1));
      }
      case Life.State.Suspended(var left) ->
          left > 0 ? Optional.of(settings.pollInterval()) : Optional.empty();
      case Life.State.Complete() -> Optional.empty();
      case Life.State.Failed(var reason, var message) -> Optional.empty();
    };
  }
}
