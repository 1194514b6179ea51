package dev.perigee.trainer;

import dev.perigee.engine.train.StepReport;
import java.io.PrintStream;
import java.util.Locale;

/** Plain lines for a person who reads {@code kubectl logs}. */
final class Log {
  /** Steps come faster than anybody reads. */
  private static final long STEP_LINE_NANOS = 5_000_000_000L;

  private final PrintStream out;
  private long lastStepLine = Long.MIN_VALUE;

  Log(PrintStream out) {
    this.out = out;
  }

  synchronized void line(String text) {
    out.println(text);
    out.flush();
  }

  /** A line about a step, when it is the first, the last, or the line before is a while ago. */
  synchronized void step(StepReport report, long steps, Double tokensPerSecond) {
    long now = System.nanoTime();
    if (lastStepLine != Long.MIN_VALUE
        && now - lastStepLine < STEP_LINE_NANOS
        && report.step() != steps) {
      return;
    }
    lastStepLine = now;
    line(
        String.format(
            Locale.ROOT,
            "step %d/%d  loss %.4f  grad %.3f  lr %.2e  %.0f tok/s  max logit %.1f  clipped %d",
            report.step(),
            steps,
            report.loss(),
            report.gradNorm(),
            report.learningRate(),
            tokensPerSecond == null ? Double.NaN : tokensPerSecond,
            report.largestLogit(),
            report.clippedHeads()));
  }
}
