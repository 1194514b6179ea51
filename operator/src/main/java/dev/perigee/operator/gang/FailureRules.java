package dev.perigee.operator.gang;

import dev.perigee.api.FailurePolicy;
import dev.perigee.api.FailurePolicy.Action;
import dev.perigee.run.ExitCode;
import java.time.Duration;
import java.util.Objects;

/** What to do about a broken gang. */
public final class FailureRules {
  /** Exit code of a program that SIGTERM ended before it could say anything. */
  private static final int TERMINATED = 128 + 15;

  private FailureRules() {}

  /**
   * The job's own rules in their order, then the built-in ones: a bad configuration and corrupt
   * data fail; what the cluster did (and a stop that the operator did not ask for) restarts without
   * counting; everything else restarts.
   */
  public static Action action(FailurePolicy policy, Breakage breakage) {
    return policy.rules().stream()
        .filter(rule -> matches(rule, breakage))
        .findFirst()
        .map(FailurePolicy.Rule::action)
        .orElseGet(() -> builtIn(breakage));
  }

  /** Wait before a restart: doubles with each that counted, up to the policy's longest. */
  public static Duration backoff(FailurePolicy policy, int restarts) {
    double seconds = policy.backoffSeconds() * Math.pow(2, Math.max(0, restarts - 1));
    return Duration.ofMillis((long) (1000 * Math.min(seconds, policy.maxBackoffSeconds())));
  }

  private static boolean matches(FailurePolicy.Rule rule, Breakage breakage) {
    Integer code = breakage.exitCode();
    return (rule.exitCodes() != null && code != null && rule.exitCodes().contains(code))
        || (rule.podReasons() != null
            && breakage.reason() != null
            && rule.podReasons().contains(breakage.reason()))
        || (rule.exitMeanings() != null
            && code != null
            && rule.exitMeanings().stream().anyMatch(m -> m.exitCode().code() == code));
  }

  private static Action builtIn(Breakage breakage) {
    if (breakage.reason() != null) {
      return switch (breakage.reason()) {
        case Evicted, Preempted, Deactivated, NodeLost, Rejected, Deleted ->
            Action.RestartWithoutCounting;
        // Another try would wait for the same thing; what is wrong is outside.
        case AdmissionDeadline, SchedulingDeadline, ImagePullDeadline -> Action.Fail;
        case OOMKilled,
            NodeCondition,
            Hang,
            RendezvousDeadline,
            LoadingDeadline,
            FirstStepDeadline,
            ReadyDeadline ->
            Action.Restart;
      };
    }
    int code = Objects.requireNonNullElse(breakage.exitCode(), ExitCode.INTERNAL.code());
    if (code == ExitCode.STOPPED.code() || code == TERMINATED) {
      return Action.RestartWithoutCounting;
    }
    return ExitCode.of(code).map(ExitCode::restartable).orElse(true) ? Action.Restart : Action.Fail;
  }
}
