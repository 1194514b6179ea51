package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class StepPlanTest {
  @Test
  void microBatchesDoNotDependOnTheMeshWhenTheShareIsLarge() {
    assertThat(StepPlan.microBatchSequences(64, 128, 512, 1, 1)).isEqualTo(4);
    assertThat(StepPlan.microBatchSequences(16, 128, 512, 1, 1)).isEqualTo(4);
    assertThat(StepPlan.microBatchSequences(6, 128, 512, 1, 1)).isEqualTo(2);
    assertThat(StepPlan.microBatchSequences(7, 128, 512, 1, 1)).isEqualTo(1);
    assertThat(StepPlan.microBatchSequences(8, 4096, 512, 1, 1)).isEqualTo(1);
  }

  @Test
  void whatMayHaveMoreTokensGetsLargerMicroBatches() {
    assertThat(StepPlan.microBatchSequences(64, 128, 8192, 1, 1)).isEqualTo(64);
    assertThat(StepPlan.microBatchSequences(96, 128, 8192, 1, 1)).isEqualTo(32);
  }

  @Test
  void aPipelineGetsSmallerMicroBatchesSoThatThereAreEnough() {
    assertThat(StepPlan.microBatchSequences(16, 128, 512, 4, 1)).isEqualTo(4);
    assertThat(StepPlan.microBatchSequences(16, 128, 512, 8, 1)).isEqualTo(2);
    assertThat(StepPlan.microBatchSequences(16, 128, 512, 100, 1)).isEqualTo(1);
  }

  @Test
  void interleavedStagesGetAsManyMicroBatchesAsTheyCanShareOut() {
    assertThat(StepPlan.microBatchSequences(20, 128, 512, 8, 4)).isEqualTo(1);
    assertThat(StepPlan.microBatchSequences(24, 128, 512, 8, 4)).isEqualTo(2);
  }
}
