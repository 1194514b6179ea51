package dev.perigee.trainer;

import dev.perigee.engine.train.StepReport;
import dev.perigee.run.RunStatus;
import dev.perigee.run.RunStatus.Phase;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;

/**
 * How far the run is, told by the ranks' threads and read by HTTP threads. Every pod keeps its own;
 * rank 0's is the job's.
 */
final class Progress {
  private static final int SPEED_WINDOW = 20;

  private record Mark(long nanos, long tokens) {}

  private final long totalSteps;
  private final ArrayDeque<Mark> marks = new ArrayDeque<>();
  private Phase phase = Phase.Starting;
  private String message;
  private long step;
  private Long durableStep;
  private long tokens;
  private StepReport last;
  private String checkpoint;
  private RunStatus.Evaluation evaluation;
  private Instant updatedAt = Instant.now();

  Progress(long totalSteps) {
    this.totalSteps = totalSteps;
  }

  synchronized void enter(Phase next) {
    phase = next;
    if (next == Phase.Training) {
      // Time spent otherwise does not count as slow training.
      marks.clear();
      marks.add(new Mark(System.nanoTime(), tokens));
    }
    touch();
  }

  synchronized void failed(String why) {
    phase = Phase.Failed;
    message = why;
    touch();
  }

  /** Training goes on from a checkpoint. */
  synchronized void resumed(long fromStep, long fromTokens) {
    step = fromStep;
    tokens = fromTokens;
    touch();
  }

  synchronized void stepped(StepReport report) {
    step = report.step();
    tokens += report.tokens();
    last = report;
    marks.add(new Mark(System.nanoTime(), tokens));
    if (marks.size() > SPEED_WINDOW + 1) {
      marks.removeFirst();
    }
    touch();
  }

  synchronized void saved(long atStep, String folder) {
    durableStep = atStep;
    checkpoint = folder;
    touch();
  }

  synchronized void evaluated(RunStatus.Evaluation result) {
    evaluation = result;
    touch();
  }

  private void touch() {
    updatedAt = Instant.now();
  }

  synchronized Phase phase() {
    return phase;
  }

  synchronized long tokens() {
    return tokens;
  }

  /** Over the last steps, null before the first. */
  synchronized Double tokensPerSecond() {
    if (marks.size() < 2) {
      return null;
    }
    double seconds = (marks.getLast().nanos - marks.getFirst().nanos) / 1e9;
    return (marks.getLast().tokens - marks.getFirst().tokens) / Math.max(seconds, 1e-9);
  }

  synchronized RunStatus status() {
    return new RunStatus(
        phase,
        message,
        step,
        durableStep,
        totalSteps,
        tokens,
        last == null ? null : (Double) last.loss(),
        last == null ? null : (Double) last.gradNorm(),
        last == null ? null : (Double) last.learningRate(),
        tokensPerSecond(),
        last == null ? null : (Double) (double) last.largestLogit(),
        last == null ? null : (Integer) last.clippedHeads(),
        last == null ? null : (Double) last.expertImbalance(),
        checkpoint,
        evaluation,
        updatedAt.truncatedTo(ChronoUnit.MILLIS).toString());
  }
}
