package dev.perigee.engine.optim;

import dev.perigee.run.RunConfig;

/** Learning rate by step: warm-up, constant, cosine (Kimi K2 report, section 2.5). */
public final class Schedule {
  private Schedule() {}

  /**
   * The learning rate of a step.
   *
   * @param step from 1 to {@code steps}; the warm-up's first step is the first of its equal rises,
   *     not 0
   * @param steps optimizer steps of the whole job; the cosine ends on the last
   */
  public static double learningRate(RunConfig.Schedule schedule, long step, long steps) {
    double peak = schedule.peakLearningRate();
    if (step < schedule.warmupSteps()) {
      return peak * step / schedule.warmupSteps();
    }
    long decayed = step - (steps - schedule.decaySteps());
    if (decayed <= 0) {
      return peak;
    }
    double done = Math.min(1, (double) decayed / schedule.decaySteps());
    double end = schedule.finalLearningRate();
    return end + (peak - end) * (1 + Math.cos(Math.PI * done)) / 2;
  }
}
