package dev.perigee.engine.optim;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.run.RunConfig;
import org.junit.jupiter.api.Test;

final class ScheduleTest {
  private static final RunConfig.Schedule SCHEDULE = new RunConfig.Schedule(2e-4, 10, 20, 2e-5);

  private static double at(long step) {
    return Schedule.learningRate(SCHEDULE, step, 100);
  }

  @Test
  void risesLinearlyAndReachesThePeakAtTheEndOfTheWarmUp() {
    assertThat(at(1)).isCloseTo(2e-5, within(1e-12));
    assertThat(at(5)).isCloseTo(1e-4, within(1e-12));
    assertThat(at(10)).isEqualTo(2e-4);
  }

  @Test
  void staysConstantUntilTheCosineBegins() {
    assertThat(at(11)).isEqualTo(2e-4);
    assertThat(at(80)).isEqualTo(2e-4);
  }

  @Test
  void fallsAsACosineToTheFinalRateOnTheLastStep() {
    assertThat(at(81)).isBetween(1.98e-4, 2e-4);
    assertThat(at(90)).isCloseTo(1.1e-4, within(1e-12));
    assertThat(at(100)).isCloseTo(2e-5, within(1e-12));
  }

  @Test
  void withoutWarmUpAndDecayIsConstant() {
    RunConfig.Schedule constant = new RunConfig.Schedule(1e-3, 0, 0, 0);
    assertThat(Schedule.learningRate(constant, 1, 3)).isEqualTo(1e-3);
    assertThat(Schedule.learningRate(constant, 3, 3)).isEqualTo(1e-3);
  }
}
