package dev.perigee.operator.gang;

import dev.perigee.api.FailurePolicy;
import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.run.RunStatus;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;

/**
 * Whether a gang that is up still gets on: a pure function of what index 0 says. How long nothing
 * happened is measured by the program's own clock. A program that no longer answers at all is the
 * liveness probe's business, which knows whether the pod or the way to it is at fault.
 */
final class HangWatch {
  private static final Set<RunStatus.Phase> WORKING =
      EnumSet.of(RunStatus.Phase.Training, RunStatus.Phase.Evaluating, RunStatus.Phase.Saving);

  /** So long everything may stand still, whatever a step takes. */
  private static final double BRIEF_SECONDS = 15;

  private HangWatch() {}

  /** The hang, if it is one. Before the first step nothing is judged; that has its deadline. */
  static Optional<Breakage> find(
      FailurePolicy policy, List<PodState> gang, Optional<RunStatus> said) {
    if (said.isEmpty()
        || said.get().phase() == null
        || said.get().idleSeconds() == null
        || said.get().stepSeconds() == null) {
      return Optional.empty();
    }
    Optional<Double> limit = limit(policy, said.get());
    double idle = said.get().idleSeconds();
    if (limit.isEmpty() || idle <= limit.get()) {
      return Optional.empty();
    }
    String pod =
        gang.stream().filter(p -> p.index() == 0).findFirst().map(PodState::name).orElse(null);
    return Optional.of(
        new Breakage(
            pod,
            null,
            PodReason.Hang,
            String.format(
                Locale.ROOT,
                "nothing got on for %.0f s in phase %s after step %d; a step takes %.3g s",
                idle,
                said.get().phase(),
                said.get().step(),
                said.get().stepSeconds())));
  }

  /**
   * Whether the whole gang is at work, as far as index 0 can tell: it takes steps, scores or saves,
   * which no rank can alone, and did something of it within the time of two.
   */
  static boolean getsOn(Optional<RunStatus> said) {
    return said.filter(s -> s.phase() != null && WORKING.contains(s.phase()))
        .filter(s -> s.idleSeconds() != null && s.idleSeconds() <= twice(s))
        .isPresent();
  }

  private static double twice(RunStatus said) {
    Double one =
        said.phase() == RunStatus.Phase.Saving ? said.checkpointSeconds() : said.stepSeconds();
    return one == null ? BRIEF_SECONDS : Math.max(BRIEF_SECONDS, 2 * one);
  }

  /** How long nothing may happen, empty for no limit. */
  private static Optional<Double> limit(FailurePolicy policy, RunStatus said) {
    FailurePolicy.Hang hang = policy.hang();
    double usual = Math.max(hang.minSeconds(), hang.medianSteps() * said.stepSeconds());
    return switch (said.phase()) {
      case Training -> Optional.of(usual);
      case Saving ->
          said.checkpointSeconds() == null
              ? unmeasured(policy, usual)
              : Optional.of(Math.max(usual, hang.medianSteps() * said.checkpointSeconds()));
      case Evaluating -> unmeasured(policy, usual);
      case Starting, Waiting, Rendezvous, Loading, Done, Failed -> Optional.empty();
    };
  }

  /** What was never measured may take as long as loading may. */
  private static Optional<Double> unmeasured(FailurePolicy policy, double usual) {
    return Optional.ofNullable(policy.deadlines().loadingSeconds())
        .map(seconds -> Math.max(usual, seconds));
  }
}
