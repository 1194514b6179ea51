package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.PretrainJobStatus.CheckpointReference;
import dev.perigee.api.PretrainJobStatus.Evaluation;
import dev.perigee.api.PretrainJobStatus.Progress;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.Termination;
import dev.perigee.run.RunStatus;
import java.util.Locale;
import java.util.Optional;

/** What the program reports, as a job's status shows it: steps, scores and checkpoints. */
final class Reported {
  private Reported() {}

  /** What pod 0 wrote before it ended, unless the job is over and it was read before. */
  static Optional<RunStatus> lastWords(ObservedGang observed, PretrainJobStatus old) {
    if (old.completionTime() != null && old.progress() != null) {
      return Optional.empty();
    }
    return observed.pods().stream()
        .filter(pod -> pod.index() == 0 && pod.ended())
        .findFirst()
        .flatMap(pod -> Termination.status(pod.end().message()));
  }

  /**
   * Numbers of the last step.
   *
   * @param old what was known before
   * @param news what rank 0 says, or said at its end
   * @param complete whether all steps are done
   */
  static Progress progress(
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

  /** The newest score on held-out data. */
  static Evaluation evaluation(Evaluation old, Optional<RunStatus> news) {
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

  /** The newest checkpoint that is on the volume. */
  static CheckpointReference checkpoint(
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
    Double seconds = news.map(RunStatus::checkpointSeconds).map(Reported::sixDigits).orElse(null);
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
}
