package dev.perigee.operator.pretrain;

import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.FailurePolicy;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.PretrainJobStatus.Attempt;
import dev.perigee.api.PretrainJobStatus.Failure;
import dev.perigee.operator.gang.Breakage;
import dev.perigee.operator.gang.FailureRules;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.PodState;
import dev.perigee.run.ExitCode;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Objects;

/**
 * Where a job is in its life, and what has to be remembered of it. The status is the only memory:
 * it is written before anything is done about it, so an operator that dies in between decides the
 * same again and counts nothing twice.
 *
 * @param state what to do now
 * @param attempt the current start of the gang, or the next one
 * @param restarts restarts that counted
 * @param disruptions restarts that did not
 * @param lastFailure why the gang last broke, null when it never did
 */
record Life(State state, Attempt attempt, int restarts, int disruptions, Failure lastFailure) {

  /** What to do now. */
  sealed interface State {
    /** The gang of the current attempt should run. */
    record Running() implements State {}

    /** The next attempt waits: for old pods to go, or for a time. */
    record Waiting(int oldPods, Instant notBefore) implements State {}

    /** No pods, because the job is suspended. */
    record Suspended(int podsLeft) implements State {}

    /** All steps are done and saved. */
    record Complete() implements State {}

    /** It failed for good. */
    record Failed(ConditionReason reason, String message) implements State {}
  }

  /**
   * The next moment of a job's life: a pure function.
   *
   * @param job the job with the status that was last written
   * @param podNames all names that the gang should have
   * @param observed what is in the cluster
   * @param now the time
   */
  static Life next(PretrainJob job, List<String> podNames, ObservedGang observed, Instant now) {
    PretrainJobStatus status = Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY);
    Life life =
        new Life(
            new State.Running(),
            Objects.requireNonNullElse(status.attempt(), new Attempt(1, false, null)),
            Objects.requireNonNullElse(status.restarts(), 0),
            Objects.requireNonNullElse(status.disruptions(), 0),
            status.lastFailure());
    if (status.holds(ConditionType.Complete)) {
      return life.in(new State.Complete());
    }
    if (status.holds(ConditionType.Failed)) {
      var failed = status.condition(ConditionType.Failed).orElseThrow();
      return life.in(new State.Failed(ConditionReason.valueOf(failed.reason()), failed.message()));
    }
    List<PodState> gang = observed.of(life.attempt.number());
    if (gang.size() == podNames.size()
        && gang.stream().allMatch(p -> p.phase() == PodState.Phase.Succeeded)) {
      return life.in(new State.Complete());
    }
    if (job.getSpec().suspend()) {
      boolean started = life.attempt.formed() || observed.has(life.attempt.number());
      Life stopped = started ? life.withNextAttempt(null) : life;
      return stopped.in(new State.Suspended(observed.pods().size()));
    }
    return switch (Breakage.find(gang, podNames, life.attempt.formed(), now)) {
      case Breakage.Finding.Broken(var breakage) ->
          life.after(breakage, job.getSpec().failurePolicy(), observed.pods().size(), now);
      case Breakage.Finding.Settling() -> life;
      case Breakage.Finding.Intact() -> life.proceed(podNames, observed, now);
    };
  }

  private Life proceed(List<String> podNames, ObservedGang observed, Instant now) {
    int old = observed.notOf(attempt.number()).size();
    Instant notBefore = attempt.notBefore() == null ? now : Instant.parse(attempt.notBefore());
    if (old > 0 || notBefore.isAfter(now)) {
      return in(new State.Waiting(old, notBefore));
    }
    List<String> there = observed.of(attempt.number()).stream().map(PodState::name).toList();
    boolean formed = attempt.formed() || there.containsAll(podNames);
    return new Life(
        new State.Running(),
        new Attempt(attempt.number(), formed, attempt.notBefore()),
        restarts,
        disruptions,
        lastFailure);
  }

  private Life after(Breakage breakage, FailurePolicy policy, int pods, Instant now) {
    FailurePolicy.Action action = FailureRules.action(policy, breakage);
    boolean counts = action == FailurePolicy.Action.Restart;
    boolean exhausted = counts && restarts >= policy.maxRestarts();
    Failure failure = failure(breakage, exhausted ? FailurePolicy.Action.Fail : action, now);
    if (action == FailurePolicy.Action.Fail || exhausted) {
      ConditionReason reason = exhausted ? ConditionReason.TooManyRestarts : finalReason(breakage);
      String message =
          exhausted
              ? failure.message() + " (after " + restarts + " restarts, the most allowed)"
              : failure.message();
      return new Life(new State.Failed(reason, message), attempt, restarts, disruptions, failure);
    }
    int counted = restarts + (counts ? 1 : 0);
    Duration wait = FailureRules.backoff(policy, counts ? counted : 1);
    Instant notBefore = now.plus(wait);
    Life next = new Life(state, attempt, counted, disruptions + (counts ? 0 : 1), failure);
    return next.withNextAttempt(notBefore.toString()).in(new State.Waiting(pods, notBefore));
  }

  private Life withNextAttempt(String notBefore) {
    return new Life(
        state,
        new Attempt(attempt.number() + 1, false, notBefore),
        restarts,
        disruptions,
        lastFailure);
  }

  private Life in(State other) {
    return new Life(other, attempt, restarts, disruptions, lastFailure);
  }

  private Failure failure(Breakage breakage, FailurePolicy.Action action, Instant now) {
    String reason = reason(breakage);
    String said = Termination.line(breakage.message());
    String ended =
        breakage.exitCode() == null
            ? breakage.pod() + " is lost (" + reason + ")"
            : breakage.pod() + " exited with " + breakage.exitCode() + " (" + reason + ")";
    return new Failure(
        attempt.number(),
        breakage.pod(),
        breakage.exitCode(),
        reason,
        said == null ? ended : ended + ": " + said,
        action,
        now.toString());
  }

  /** One word for what happened: the cluster's reason, else the exit code's meaning. */
  private static String reason(Breakage breakage) {
    if (breakage.reason() != null) {
      return breakage.reason().name();
    }
    if (breakage.exitCode() == null) {
      return "Unknown";
    }
    int code = breakage.exitCode();
    for (FailurePolicy.ExitMeaning meaning : FailurePolicy.ExitMeaning.values()) {
      if (meaning.exitCode().code() == code) {
        return meaning.name();
      }
    }
    return code > 128 ? "Signal" + (code - 128) : "Unknown";
  }

  private static ConditionReason finalReason(Breakage breakage) {
    Integer code = breakage.exitCode();
    if (breakage.reason() == null && code != null) {
      if (code == ExitCode.BAD_CONFIG.code()) {
        return ConditionReason.BadConfig;
      }
      if (code == ExitCode.CORRUPT_DATA.code()) {
        return ConditionReason.CorruptData;
      }
    }
    return ConditionReason.FailedByRule;
  }
}
