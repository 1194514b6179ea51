package dev.perigee.engine.train;

import dev.perigee.plan.Step;

/** Is told what a rank did in an optimizer step, and when. */
@FunctionalInterface
public interface StepRecorder {
  /** Nobody wants to know. */
  StepRecorder NONE = (step, start, end) -> {};

  /**
   * One step of the schedule is done. Called by the rank's thread and, for exchanges of experts'
   * rows, by the thread that makes them.
   *
   * @param start {@link System#nanoTime} when it began, after what it had to wait for but for a
   *     receive, which is the waiting
   * @param end when it was done
   */
  void done(Step step, long start, long end);
}
