package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.time.Duration;
import java.util.EnumSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The Kimi K2 report's own run (section 2.4): PP16 with virtual stages, EP16, H800, 67M tokens. */
class PlanTest {
  private static final ModelConfig K2 = ModelPresets.find("kimi-k2").orElseThrow();
  private static final Workload WORKLOAD =
      new Workload(
          K2, 4096, 1L << 26, 5, EnumSet.allOf(Workload.Recompute.class), true);

  private static Plan k2(int gpus) {
    int data = gpus / 16;
    Layout layout =
        new Layout(
            new Mesh(16, data, 16, 8),
            StageLayout.byCost(K2, 32, 4096),
            2,
            1,
            true,
            false,
            true);
    Hardware h800 = new Hardware.Gpus(Gpu.find("H800").orElseThrow(), 8);
    return Plan.of(WORKLOAD, layout, h800, Calibration.DEFAULT);
  }

  @Test
  void kimiK2OnTwoHundredFiftySixGpusIsWhatItsReportSays() {
    Plan plan = k2(256);
    System.out.println(plan.text());
    assertThat(plan.total().sum() / 1e9).isCloseTo(1026, within(1.0));
    assertThat((plan.fullest().parameters() + plan.fullest().gradients()) / 1e9)
        .isCloseTo(28, within(1.0));
    assertThat(plan.timing().expertsHidden()).isGreaterThan(0.99);
  }

  @ParameterizedTest
  @ValueSource(ints = {2048, 32_768})
  void largeClustersArePlannedWithinTwoSeconds(int gpus) {
    long start = System.nanoTime();
    System.out.println(k2(gpus).text());
    assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(2));
  }
}
