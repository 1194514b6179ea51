package dev.perigee.operator.gang;

import dev.perigee.api.FailurePolicy.Deadlines;
import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.GangAttempt;
import dev.perigee.api.GangAttempt.Phase;
import dev.perigee.run.RunStatus;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;

/** How far a start of a gang has come, and whether that took too long: pure functions. */
final class StartPhase {
  private StartPhase() {}

  /**
   * The attempt with its phase as now seen. The pod that is furthest behind decides. A phase is
   * left backwards only for what can never be again once it was left: then somebody wrote a later
   * one by hand. One whose beginning cannot be read, or is yet to come, begins now: a clock that
   * was ahead wrote it, or somebody by hand, and its deadline would pass too late or never.
   *
   * @param gang pods of this start
   * @param wanted how many there should be
   * @param said what index 0 says, empty when it says nothing
   */
  static GangAttempt advance(
      GangAttempt attempt, List<PodState> gang, int wanted, Optional<RunStatus> said, Instant now) {
    Phase seen = seen(gang, wanted, said);
    boolean further =
        attempt.phase() == null
            || seen.compareTo(attempt.phase()) > 0
            || (seen.compareTo(attempt.phase()) < 0 && isSure(seen, gang, wanted, said));
    if (!further && WrittenTime.isPast(attempt.phaseTime(), now)) {
      return attempt;
    }
    return new GangAttempt(
        attempt.number(),
        attempt.formed(),
        attempt.notBefore(),
        further ? seen : attempt.phase(),
        now.truncatedTo(ChronoUnit.SECONDS).toString());
  }

  /**
   * Whether a gang is surely no further. A pod is let in, gets its node and begins once; a program
   * meets its peers and reads once. That nothing is heard of it, or no loss, can happen at any
   * time.
   */
  private static boolean isSure(
      Phase seen, List<PodState> gang, int wanted, Optional<RunStatus> said) {
    return gang.size() == wanted
        && switch (seen) {
          case Admission, Scheduling, ImagePull -> true;
          case Rendezvous, Loading -> said.map(RunStatus::phase).isPresent();
          case FirstStep, Training -> false;
        };
  }

  private static Phase seen(List<PodState> gang, int wanted, Optional<RunStatus> said) {
    if (gang.size() < wanted || gang.stream().anyMatch(pod -> pod.binding().gated())) {
      return Phase.Admission;
    }
    if (!gang.stream().allMatch(pod -> pod.binding().bound())) {
      return Phase.Scheduling;
    }
    if (gang.stream().anyMatch(p -> p.phase() == PodState.Phase.Pending)) {
      return Phase.ImagePull;
    }
    // The kubelet's word counts where the operator cannot reach the pods: ready is past loading.
    boolean ready = gang.stream().allMatch(PodState::ready);
    if (said.isEmpty() || said.get().phase() == null) {
      return ready ? Phase.Training : Phase.Rendezvous;
    }
    return switch (said.get().phase()) {
      case Starting, Waiting, Rendezvous -> Phase.Rendezvous;
      case Loading -> Phase.Loading;
      case Training, Evaluating, Saving ->
          said.get().loss() == null ? Phase.FirstStep : Phase.Training;
      case Done, Failed -> Phase.Training;
    };
  }

  /** The deadline that has passed, if one has. */
  static Optional<Breakage> overdue(
      GangAttempt attempt, Deadlines deadlines, List<PodState> gang, Instant now) {
    Optional<Instant> since = WrittenTime.read(attempt.phaseTime());
    if (attempt.phase() == null || since.isEmpty()) {
      return Optional.empty();
    }
    Limit limit = limit(attempt.phase(), deadlines);
    if (limit.seconds == null || Duration.between(since.get(), now).toSeconds() < limit.seconds) {
      return Optional.empty();
    }
    Optional<PodState> behind = gang.stream().filter(p -> isBehind(p, attempt.phase())).findFirst();
    String detail = behind.map(StartPhase::whatItWaitsFor).map(why -> ": " + why).orElse("");
    return Optional.of(
        new Breakage(
            behind.map(PodState::name).orElse(null),
            null,
            limit.reason,
            limit.what
                + " within "
                + limit.seconds
                + " s (failurePolicy.deadlines."
                + limit.field
                + ")"
                + detail));
  }

  private static String whatItWaitsFor(PodState pod) {
    return Stream.of(
            pod.binding().unschedulable(), pod.container().trouble(), pod.container().waiting())
        .filter(Objects::nonNull)
        .findFirst()
        .orElse(null);
  }

  /** One deadline: its field, and what has not happened when it passes. */
  private record Limit(Integer seconds, PodReason reason, String field, String what) {}

  private static Limit limit(Phase phase, Deadlines d) {
    return switch (phase) {
      case Admission ->
          new Limit(
              d.admissionSeconds(),
              PodReason.AdmissionDeadline,
              "admissionSeconds",
              "the pods were not let in");
      case Scheduling ->
          new Limit(
              d.schedulingSeconds(),
              PodReason.SchedulingDeadline,
              "schedulingSeconds",
              "no node took the pod");
      case ImagePull ->
          new Limit(
              d.imagePullSeconds(),
              PodReason.ImagePullDeadline,
              "imagePullSeconds",
              "the container did not start");
      case Rendezvous ->
          new Limit(
              d.rendezvousSeconds(),
              PodReason.RendezvousDeadline,
              "rendezvousSeconds",
              "the pods did not all meet");
      case Loading ->
          new Limit(
              d.loadingSeconds(),
              PodReason.LoadingDeadline,
              "loadingSeconds",
              "data and weights were not read");
      case FirstStep ->
          new Limit(
              d.firstStepSeconds(),
              PodReason.FirstStepDeadline,
              "firstStepSeconds",
              "the first step was not done");
      case Training -> new Limit(null, null, null, null);
    };
  }

  private static boolean isBehind(PodState pod, Phase phase) {
    return switch (phase) {
      case Admission -> pod.binding().gated();
      case Scheduling -> !pod.binding().bound();
      case ImagePull -> pod.phase() == PodState.Phase.Pending;
      case Rendezvous, Loading, FirstStep, Training -> !pod.ready();
    };
  }

  /** Whether a breakage is that the gang as a whole took too long or no longer gets on. */
  static boolean isOfTheWhole(PodReason reason) {
    return switch (Objects.requireNonNull(reason)) {
      case Hang,
          AdmissionDeadline,
          SchedulingDeadline,
          ImagePullDeadline,
          RendezvousDeadline,
          LoadingDeadline,
          FirstStepDeadline ->
          true;
      case OOMKilled,
          Evicted,
          Preempted,
          Deactivated,
          NodeLost,
          Rejected,
          Deleted,
          NodeCondition,
          ReadyDeadline ->
          false;
    };
  }
}
