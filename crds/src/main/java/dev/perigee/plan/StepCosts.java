package dev.perigee.plan;

/** What the steps of a schedule take. */
@FunctionalInterface
public interface StepCosts {
  /**
   * Seconds of a step; of a receive, nothing counts but the wait for its send.
   *
   * @return 0 or more
   */
  double seconds(Step step);
}
