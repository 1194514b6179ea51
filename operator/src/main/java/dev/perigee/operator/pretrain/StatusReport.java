package dev.perigee.operator.pretrain;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.GangLife;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.WrittenTime;
import dev.perigee.run.RunStatus;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.EnumSet;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/** The status of a job: a pure function of its plan, its life and what is observed. */
final class StatusReport {
  private StatusReport() {}

  /** The status of a job whose plan cannot work. */
  static PretrainJobStatus of(PretrainJob job, PretrainPlan.Impossible plan, Instant now) {
    PretrainJobStatus old = Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY);
    Summary summary = new Summary(ConditionReason.InvalidPlan, String.join("\n", plan.problems()));
    return unlaid(old)
        .with(
            job.getMetadata().getGeneration(),
            conditions(job, old, summary, EnumSet.of(ConditionType.Stalled), now));
  }

  /** The status of a job that cannot begin yet, because of others. */
  static PretrainJobStatus of(PretrainJob job, Prerequisites.Held held, Instant now) {
    PretrainJobStatus old = Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY);
    Set<ConditionType> holding =
        held.reason() == ConditionReason.Suspended
            ? EnumSet.of(ConditionType.Suspended)
            : EnumSet.of(held.stalled() ? ConditionType.Stalled : ConditionType.Reconciling);
    return unlaid(old)
        .with(
            job.getMetadata().getGeneration(),
            conditions(job, old, new Summary(held.reason(), held.message()), holding, now));
  }

  /** Without a layout, because there is no plan. */
  private static PretrainJobStatus unlaid(PretrainJobStatus old) {
    return new PretrainJobStatus(
        old.observedGeneration(),
        old.conditions(),
        null,
        old.attempt(),
        old.restarts(),
        old.disruptions(),
        old.lastFailure(),
        old.progress(),
        old.evaluation(),
        old.lastDurableCheckpoint(),
        old.source(),
        old.startTime(),
        old.completionTime());
  }

  /**
   * The status of a job.
   *
   * @param said what rank 0 says now, empty when it says nothing
   */
  static PretrainJobStatus of(
      PretrainJob job,
      PretrainPlan.Workable plan,
      GangLife life,
      ObservedGang observed,
      Optional<RunStatus> said,
      Instant now) {
    PretrainJobStatus old = Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY);
    boolean complete = life.state() instanceof GangLife.State.Complete;
    Optional<RunStatus> news = said.or(() -> Reported.lastWords(observed, old));
    Summary summary = Summary.of(life, observed, plan.gang(), said, old);
    boolean suspended = life.state() instanceof GangLife.State.Suspended;
    boolean started =
        !suspended && (old.startTime() != null || life.state() instanceof GangLife.State.Running);
    boolean ended = complete || life.state() instanceof GangLife.State.Failed;
    return new PretrainJobStatus(
        job.getMetadata().getGeneration(),
        conditions(job, old, summary, summary.holding(life), now),
        plan.layout(),
        life.attempt(),
        life.restarts(),
        life.disruptions(),
        life.lastFailure(),
        Reported.progress(old.progress(), news, plan, life.attempt().number(), complete),
        Reported.evaluation(old.evaluation(), news),
        Reported.checkpoint(job, old.lastDurableCheckpoint(), news, plan, complete),
        old.source(),
        started ? orNow(old.startTime(), now) : null,
        ended ? orNow(old.completionTime(), now) : null);
  }

  /**
   * The same status, but what was to be created, changed or deleted was refused. A job that is over
   * stays so, whatever becomes of its pods.
   */
  static PretrainJobStatus refused(
      PretrainJob job, PretrainJobStatus status, String why, Instant now) {
    if (isOver(status)) {
      return status;
    }
    Summary summary = new Summary(ConditionReason.CreationRefused, why);
    return status.with(
        status.observedGeneration(),
        conditions(job, status, summary, EnumSet.of(ConditionType.Reconciling), now));
  }

  /**
   * What is said of a job whose actions are about to be tried: where they were refused before, that
   * stands until it is known whether they are again. Else each try would be told as two changes.
   */
  static PretrainJobStatus untilTried(PretrainJobStatus known, PretrainJobStatus next) {
    boolean refused =
        known
            .condition(ConditionType.Ready)
            .filter(c -> c.reason().equals(ConditionReason.CreationRefused.name()))
            .isPresent();
    return refused && !isOver(next) && Objects.equals(known.lastFailure(), next.lastFailure())
        ? next.with(next.observedGeneration(), known.conditions())
        : next;
  }

  private static boolean isOver(PretrainJobStatus status) {
    return status.holds(ConditionType.Complete) || status.holds(ConditionType.Failed);
  }

  private static List<Condition> conditions(
      PretrainJob job,
      PretrainJobStatus old,
      Summary summary,
      Set<ConditionType> holding,
      Instant now) {
    long generation = Objects.requireNonNullElse(job.getMetadata().getGeneration(), 0L);
    return Stream.of(ConditionType.values())
        .map(
            type -> {
              Condition.Status status =
                  holding.contains(type) ? Condition.Status.True : Condition.Status.False;
              String since =
                  old.condition(type)
                      .filter(before -> before.status() == status)
                      .map(Condition::lastTransitionTime)
                      .orElseGet(() -> time(now));
              return new Condition(
                  type.name(),
                  status,
                  summary.reason().name(),
                  summary.message(),
                  since,
                  generation);
            })
        .toList();
  }

  /** A time that was written before, unless it cannot be read or is yet to come. */
  private static String orNow(String time, Instant now) {
    return WrittenTime.isPast(time, now) ? time : time(now);
  }

  private static String time(Instant instant) {
    return instant.truncatedTo(ChronoUnit.SECONDS).toString();
  }
}
