package dev.perigee.trainer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.train.StepReport;
import dev.perigee.run.RunStatus;
import dev.perigee.run.RunStatus.Phase;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;

/**
 * How far the run is, told by the ranks' threads and read by HTTP threads. Every pod keeps its own;
 * rank 0's is the job's.
 */
final class Progress {
  private static final int SPEED_WINDOW = 20;

  /** What Kubernetes keeps of a termination message, in bytes. */
  private static final int LONGEST_LAST_WORDS = 4096;

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
  private final ArrayDeque<Double> stepSeconds = new ArrayDeque<>();
  private Double checkpointSeconds;
  private String checkpointDigest;
  private Instant updatedAt = Instant.now();
  private long updatedNanos = System.nanoTime();

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
    if (!marks.isEmpty()) {
      stepSeconds.add((System.nanoTime() - marks.getLast().nanos) / 1e9);
      if (stepSeconds.size() > SPEED_WINDOW) {
        stepSeconds.removeFirst();
      }
    }
    marks.add(new Mark(System.nanoTime(), tokens));
    if (marks.size() > SPEED_WINDOW + 1) {
      marks.removeFirst();
    }
    touch();
  }

  /** A checkpoint was found, written by a run before this. */
  synchronized void found(long atStep, String folder, String digest) {
    durableStep = atStep;
    checkpoint = folder;
    checkpointDigest = digest;
    touch();
  }

  /** A checkpoint was written. */
  synchronized void saved(long atStep, String folder, String digest, double seconds) {
    checkpointSeconds = seconds;
    found(atStep, folder, digest);
  }

  synchronized void evaluated(RunStatus.Evaluation result) {
    evaluation = result;
    touch();
  }

  private void touch() {
    updatedAt = Instant.now();
    updatedNanos = System.nanoTime();
  }

  /** Median time of the last steps, null before the first. */
  private Double medianStepSeconds() {
    if (stepSeconds.isEmpty()) {
      return null;
    }
    double[] sorted = stepSeconds.stream().mapToDouble(Double::doubleValue).sorted().toArray();
    return sorted[sorted.length / 2];
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

  /**
   * The last status as JSON, short enough for a termination message: without a long sample, and
   * with no more of the message than there is room for.
   */
  synchronized String lastWords() {
    String said = json(status());
    if (fits(said)) {
      return said;
    }
    RunStatus.Evaluation wholeEvaluation = evaluation;
    String wholeMessage = message;
    evaluation = wholeEvaluation == null ? null : withoutSample(wholeEvaluation);
    try {
      said = json(status());
      for (int kept = length(wholeMessage); kept > 0 && !fits(said); kept = kept * 7 / 8) {
        message = shortened(wholeMessage, kept);
        said = json(status());
      }
      return said;
    } finally {
      evaluation = wholeEvaluation;
      message = wholeMessage;
    }
  }

  private static boolean fits(String said) {
    return said.getBytes(StandardCharsets.UTF_8).length <= LONGEST_LAST_WORDS;
  }

  private static int length(String text) {
    return text == null ? 0 : text.length();
  }

  private static String shortened(String text, int kept) {
    int end = Character.isHighSurrogate(text.charAt(kept - 1)) ? kept - 1 : kept;
    return text.substring(0, end) + "…";
  }

  private static RunStatus.Evaluation withoutSample(RunStatus.Evaluation whole) {
    return new RunStatus.Evaluation(
        whole.step(), whole.loss(), whole.bitsPerByte(), whole.exact(), whole.problems(), null);
  }

  private static String json(RunStatus status) {
    try {
      return new ObjectMapper().writeValueAsString(status);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("a status that cannot be written as JSON", e);
    }
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
        updatedAt.truncatedTo(ChronoUnit.MILLIS).toString(),
        medianStepSeconds(),
        checkpointSeconds,
        checkpointDigest,
        (System.nanoTime() - updatedNanos) / 1e9);
  }
}
