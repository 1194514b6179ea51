package dev.perigee.operator.pretrain;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.PretrainJobStatus.CheckpointReference;
import dev.perigee.api.PretrainJobStatus.Evaluation;
import dev.perigee.api.PretrainJobStatus.Progress;
import dev.perigee.operator.gang.GangLife;
import dev.perigee.operator.gang.GangPlan;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.PodState;
import dev.perigee.operator.gang.Termination;
import dev.perigee.operator.gang.WrittenTime;
import dev.perigee.run.RunStatus;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/** The status of a job: a pure function of its plan, its life and what is observed. */
final class StatusReport {
  private static final Set<ConditionReason> WORKING =
      EnumSet.of(ConditionReason.Training, ConditionReason.Evaluating, ConditionReason.Saving);
  private static final Set<String> IMAGE_TROUBLE =
      Set.of("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull");

  private StatusReport() {}

  /** Why things are as they are, and one line about it. */
  private record Summary(ConditionReason reason, String message) {}

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
    List<PodState> gang = observed.of(life.attempt().number());
    boolean complete = life.state() instanceof GangLife.State.Complete;
    Optional<RunStatus> news = said.or(() -> lastWords(observed, old));
    Summary summary = summary(life, gang, plan.gang(), said, old);
    boolean suspended = life.state() instanceof GangLife.State.Suspended;
    boolean started =
        !suspended && (old.startTime() != null || life.state() instanceof GangLife.State.Running);
    boolean ended = complete || life.state() instanceof GangLife.State.Failed;
    return new PretrainJobStatus(
        job.getMetadata().getGeneration(),
        conditions(job, old, summary, holding(life, summary), now),
        plan.layout(),
        life.attempt(),
        life.restarts(),
        life.disruptions(),
        life.lastFailure(),
        progress(old.progress(), news, plan, life.attempt().number(), complete),
        evaluation(old.evaluation(), news),
        checkpoint(job, old.lastDurableCheckpoint(), news, plan, complete),
        old.source(),
        started ? orNow(old.startTime(), now) : null,
        ended ? orNow(old.completionTime(), now) : null);
  }

  /** The same status, but what was to be created was refused. */
  static PretrainJobStatus refused(
      PretrainJob job, PretrainJobStatus status, String why, Instant now) {
    Summary summary = new Summary(ConditionReason.CreationRefused, why);
    return status.with(
        status.observedGeneration(),
        conditions(job, status, summary, EnumSet.of(ConditionType.Reconciling), now));
  }

  /** What pod 0 wrote before it ended, unless the job is over and it was read before. */
  private static Optional<RunStatus> lastWords(ObservedGang observed, PretrainJobStatus old) {
    if (old.completionTime() != null && old.progress() != null) {
      return Optional.empty();
    }
    return observed.pods().stream()
        .filter(pod -> pod.index() == 0 && pod.ended())
        .findFirst()
        .flatMap(pod -> Termination.status(pod.end().message()));
  }

  private static Summary summary(
      GangLife life,
      List<PodState> gang,
      GangPlan plan,
      Optional<RunStatus> said,
      PretrainJobStatus old) {
    return switch (life.state()) {
      case GangLife.State.Complete() ->
          new Summary(ConditionReason.Complete, "All steps are done and saved.");
      case GangLife.State.Failed(var reason, var message) -> new Summary(reason, message);
      case GangLife.State.Suspended(var left) when left > 0 ->
          new Summary(ConditionReason.Suspending, "The pods save and go.");
      case GangLife.State.Suspended(var none) ->
          new Summary(
              ConditionReason.Suspended, "Suspended; set suspend: false to continue training.");
      case GangLife.State.Waiting(var left, var notBefore) when left > 0 ->
          new Summary(ConditionReason.Restarting, broke(life) + "; its pods go first.");
      case GangLife.State.Waiting(var none, var notBefore) ->
          new Summary(
              ConditionReason.BackingOff, broke(life) + "; it starts again at " + notBefore + ".");
      case GangLife.State.Running() -> running(gang, plan, said, old);
    };
  }

  private static String broke(GangLife life) {
    return life.broke()
        .map(failure -> "The gang broke: " + failure.message())
        .orElse("The gang starts anew as the specification asks");
  }

  private static Summary running(
      List<PodState> gang, GangPlan plan, Optional<RunStatus> said, PretrainJobStatus old) {
    int pods = plan.pods().size();
    if (gang.stream().anyMatch(pod -> pod.binding().gated())) {
      return new Summary(
          ConditionReason.AwaitingAdmission, "The pods wait for a queue or quota to let them in.");
    }
    Optional<PodState> homeless =
        gang.stream().filter(p -> p.binding().unschedulable() != null).findFirst();
    if (homeless.isPresent()) {
      return new Summary(
          ConditionReason.InsufficientCapacity,
          "No node takes "
              + homeless.get().name()
              + ": "
              + homeless.get().binding().unschedulable());
    }
    Optional<PodState> imageless =
        gang.stream()
            .filter(
                p ->
                    p.container().waiting() != null
                        && IMAGE_TROUBLE.contains(p.container().waiting()))
            .findFirst();
    if (imageless.isPresent()) {
      return new Summary(
          ConditionReason.ImagePull,
          "The image "
              + image(plan)
              + " of "
              + imageless.get().name()
              + " cannot be pulled: "
              + imageless.get().container().waiting());
    }
    if (gang.size() < pods) {
      // Tried again with every look; until it works, what was said about it stands.
      return standing(old, EnumSet.of(ConditionReason.CreationRefused))
          .orElseGet(() -> starting(pods));
    }
    if (gang.stream().anyMatch(p -> p.phase() == PodState.Phase.Pending)) {
      return starting(pods);
    }
    if (said.isPresent() && said.get().phase() != null) {
      return saying(said.get(), pods);
    }
    // One unanswered question is no news: the last answer stands while the pods run.
    return standing(old, WORKING).orElseGet(() -> starting(pods));
  }

  private static String image(GangPlan plan) {
    return plan.pods().getFirst().getSpec().getContainers().getFirst().getImage();
  }

  /** What was said last, when it is one of these. */
  private static Optional<Summary> standing(PretrainJobStatus old, Set<ConditionReason> reasons) {
    return old.condition(ConditionType.Ready)
        .flatMap(c -> ConditionReason.of(c.reason()).map(r -> new Summary(r, c.message())))
        .filter(s -> reasons.contains(s.reason()));
  }

  private static Summary starting(int pods) {
    return new Summary(
        ConditionReason.Starting, pods == 1 ? "The pod starts." : pods + " pods start.");
  }

  private static Summary saying(RunStatus said, int pods) {
    return switch (said.phase()) {
      case Starting -> starting(pods);
      case Waiting, Rendezvous ->
          new Summary(ConditionReason.Rendezvous, "Pods wait for their peers.");
      case Loading -> new Summary(ConditionReason.Loading, "Data and weights are being read.");
      case Training -> new Summary(ConditionReason.Training, "Steps are being taken.");
      case Evaluating -> new Summary(ConditionReason.Evaluating, "Held-out data is being scored.");
      case Saving -> new Summary(ConditionReason.Saving, "A checkpoint is being written.");
      case Done, Failed -> new Summary(ConditionReason.Saving, "The program is ending.");
    };
  }

  private static Set<ConditionType> holding(GangLife life, Summary summary) {
    return switch (life.state()) {
      case GangLife.State.Complete() -> EnumSet.of(ConditionType.Ready, ConditionType.Complete);
      case GangLife.State.Failed(var reason, var message) ->
          EnumSet.of(ConditionType.Failed, ConditionType.Stalled);
      case GangLife.State.Suspended(var left) ->
          left > 0 ? EnumSet.of(ConditionType.Reconciling) : EnumSet.of(ConditionType.Suspended);
      case GangLife.State.Waiting(var left, var notBefore) -> EnumSet.of(ConditionType.Reconciling);
      case GangLife.State.Running() ->
          EnumSet.of(
              WORKING.contains(summary.reason()) ? ConditionType.Ready : ConditionType.Reconciling);
    };
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

  private static Progress progress(
      Progress old,
      Optional<RunStatus> news,
      PretrainPlan.Workable plan,
      int attempt,
      boolean complete) {
    long total = plan.run().steps();
    // Before its first step a program has no numbers; those of the attempt before stand.
    Progress known =
        news.filter(n -> n.loss() != null).map(n -> progress(n, total, attempt)).orElse(old);
    if (known == null) {
      known =
          new Progress(0L, total, null, null, null, null, null, null, null, null, null, null, null);
    }
    if (complete && known.step() < total) {
      // The exit code says that all steps are done, even when the last numbers were never heard.
      known =
          new Progress(
              total,
              total,
              total * plan.run().batchTokens(),
              null,
              null,
              null,
              null,
              null,
              null,
              null,
              known.updatedAt(),
              known.stepSeconds(),
              attempt);
    }
    return old != null && withoutTime(old).equals(withoutTime(known)) ? old : known;
  }

  private static Progress progress(RunStatus said, long total, int attempt) {
    return new Progress(
        said.step(),
        total,
        said.tokens(),
        sixDigits(said.loss()),
        sixDigits(said.gradNorm()),
        sixDigits(said.learningRate()),
        sixDigits(said.tokensPerSecond()),
        sixDigits(said.maxQkLogit()),
        said.clippedHeads(),
        sixDigits(said.expertImbalance()),
        said.updatedAt(),
        sixDigits(said.stepSeconds()),
        attempt);
  }

  /** Without the time, so that a question answered twice alike is not written twice. */
  private static Progress withoutTime(Progress p) {
    return new Progress(
        p.step(),
        p.totalSteps(),
        p.tokens(),
        p.loss(),
        p.gradNorm(),
        p.learningRate(),
        p.tokensPerSecond(),
        p.maxQkLogit(),
        p.clippedHeads(),
        p.expertImbalance(),
        null,
        null,
        p.attempt());
  }

  private static Evaluation evaluation(Evaluation old, Optional<RunStatus> news) {
    return news.map(RunStatus::evaluation)
        .map(
            e ->
                new Evaluation(
                    e.step(),
                    sixDigits(e.loss()),
                    sixDigits(e.bitsPerByte()),
                    sixDigits(e.exact()),
                    e.problems(),
                    e.sample()))
        .orElse(old);
  }

  private static CheckpointReference checkpoint(
      PretrainJob job,
      CheckpointReference old,
      Optional<RunStatus> news,
      PretrainPlan.Workable plan,
      boolean complete) {
    Long heard = news.map(RunStatus::durableStep).orElse(null);
    // One is always written after the last step, before the program says that it is done.
    Long step = complete ? Long.valueOf(plan.run().steps()) : heard;
    if (step == null) {
      return old;
    }
    String folder = String.format(Locale.ROOT, "step-%08d", step);
    // A program that found its checkpoint, rather than wrote it, does not know how long that took.
    boolean same = old != null && step.equals(old.step());
    boolean said = heard != null && heard.equals(step);
    String digest = said ? news.map(RunStatus::checkpointDigest).orElse(null) : null;
    Double seconds =
        news.map(RunStatus::checkpointSeconds).map(StatusReport::sixDigits).orElse(null);
    return new CheckpointReference(
        step,
        RunConfigs.checkpointPath(job) + "/" + folder,
        job.getSpec().checkpoints().volume(),
        digest == null && same ? old.digest() : digest,
        seconds == null && old != null ? old.seconds() : seconds);
  }

  /** Six significant digits: what a person reads, and no write for noise. Null for no number. */
  private static Double sixDigits(Double value) {
    if (value == null || !Double.isFinite(value)) {
      return null;
    }
    return Double.valueOf(String.format(Locale.ROOT, "%.5e", value));
  }

  /** A time that was written before, unless it cannot be read or is yet to come. */
  private static String orNow(String time, Instant now) {
    return WrittenTime.isPast(time, now) ? time : time(now);
  }

  private static String time(Instant instant) {
    return instant.truncatedTo(ChronoUnit.SECONDS).toString();
  }
}
