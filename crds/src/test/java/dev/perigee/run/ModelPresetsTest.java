package dev.perigee.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.withinPercentage;

import org.junit.jupiter.api.Test;

/** The counts are those of the model cards and of the Kimi K2 report. */
class ModelPresetsTest {
  @Test
  void kimiK2HasOnePointZeroTwoSixTrillionParameters() {
    ModelConfig k2 = ModelPresets.find("kimi-k2").orElseThrow();
    assertThat(k2.totalParameters() / 1e9).isCloseTo(1026.4, withinPercentage(0.01));
    assertThat(k2.activeParameters() / 1e9).isCloseTo(32.86, withinPercentage(0.05));
  }

  @Test
  void deepseekV3HasSixHundredSeventyOneBillionParameters() {
    ModelConfig v3 = ModelPresets.find("deepseek-v3").orElseThrow();
    assertThat(v3.totalParameters() / 1e9).isCloseTo(671.0, withinPercentage(0.05));
  }

  @Test
  void everyPresetIsValid() {
    ModelPresets.all().forEach((name, config) -> assertThat(config.problems()).as(name).isEmpty());
  }
}
