package dev.perigee.operator.pretrain;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJobStatus;
import java.util.EnumSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;

/**
 * A change that people should hear of; it becomes one Event.
 *
 * @param attempt the attempt at which it happened, 0 before the first: two attempts within a second
 *     may say the same, and are two changes
 * @param warning whether something went wrong
 * @param reason one word
 * @param message one line
 */
record Transition(int attempt, boolean warning, String reason, String message) {
  private static final Set<ConditionReason> TROUBLE =
      EnumSet.of(
          ConditionReason.CreationRefused,
          ConditionReason.InsufficientCapacity,
          ConditionReason.ImagePull,
          ConditionReason.PodSetup,
          ConditionReason.Restarting,
          ConditionReason.BackingOff,
          ConditionReason.InvalidPlan,
          ConditionReason.BadConfig,
          ConditionReason.CorruptData,
          ConditionReason.SourceMissing,
          ConditionReason.SourceFailed,
          ConditionReason.SourceCircle,
          ConditionReason.OutputPathTaken,
          ConditionReason.AdmissionDeadline,
          ConditionReason.SchedulingDeadline,
          ConditionReason.ImagePullDeadline,
          ConditionReason.RendezvousDeadline,
          ConditionReason.LoadingDeadline,
          ConditionReason.FirstStepDeadline,
          ConditionReason.Hang,
          ConditionReason.DeadlineExceeded,
          ConditionReason.TooManyRestarts,
          ConditionReason.FailedByRule);

  /**
   * What changed between two statuses: nothing, or the new reason of Ready. That a job at work
   * saves or evaluates and goes on is no news.
   */
  static List<Transition> between(PretrainJobStatus before, PretrainJobStatus after) {
    String was = before.condition(ConditionType.Ready).map(Condition::reason).orElse(null);
    if (after.conditions().isEmpty()) {
      return List.of(); // nothing has been said yet
    }
    Condition ready = after.condition(ConditionType.Ready).orElseThrow();
    boolean brokeAgain =
        after.lastFailure() != null && !Objects.equals(before.lastFailure(), after.lastFailure());
    boolean goesOn =
        before.holds(ConditionType.Ready) && ready.holds() && !after.holds(ConditionType.Complete);
    if (!brokeAgain && (goesOn || ready.reason().equals(was))) {
      return List.of();
    }
    return List.of(
        new Transition(
            after.attempt() == null ? 0 : after.attempt().number(),
            brokeAgain || ConditionReason.of(ready.reason()).map(TROUBLE::contains).orElse(false),
            ready.reason(),
            ready.message()));
  }
}
