package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.plan.Hardware.Precision;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The Kimi K2 report's own run (section 2.4): PP16 with virtual stages, EP16, H800, 67M tokens. */
class PlanTest {
  private static final ModelConfig K2 = ModelPresets.find("kimi-k2").orElseThrow();

  private static Plan k2(int gpus, long batchTokens) {
    return k2(gpus, batchTokens, Gpu.find("H800").orElseThrow(), true);
  }

  private static Plan k2(int gpus, long batchTokens, Gpu gpu, boolean splitWeightGradient) {
    // embedding and the dense layer, thirty times two layers of experts, the head
    List<Integer> layers = new ArrayList<>(List.of(1));
    layers.addAll(Collections.nCopies(30, 2));
    layers.add(0);
    Layout layout =
        new Layout(
            new Mesh(16, gpus / 16, 16, 8),
            new StageLayout(layers),
            2,
            1,
            true,
            splitWeightGradient,
            true);
    Workload workload =
        new Workload(
            K2,
            4096,
            batchTokens,
            5,
            new RunConfig.Memory(
                EnumSet.allOf(RunConfig.Memory.Recompute.class),
                EnumSet.allOf(RunConfig.Memory.Fp8.class),
                true,
                256));
    return Plan.of(
        workload, layout, new Hardware.Gpus(gpu, 8, Precision.BF16), Calibration.DEFAULT);
  }

  @Test
  void kimiK2OnTwoHundredFiftySixGpusIsWhatItsReportSays() {
    Plan plan = k2(256, 1L << 26);
    assertThat(plan.total().sum() / 1e9).isCloseTo(1026, within(1.0));
    assertThat((plan.fullest().parameters() + plan.fullest().gradients()) / 1e9)
        .isCloseTo(28, within(1.0));
    assertThat(plan.fits()).isTrue();
  }

  /** H800: 400 Gb/s of network and 200 GB/s of NVLink each way, of which 0.8 are reached. */
  @Test
  void itsExpertTrafficIsHiddenInSteadyState() {
    Timing timing = k2(256, 1L << 26).timing();
    assertThat(timing.expertsHidden()).isGreaterThan(0.99);
    assertThat(timing.seconds().exposedExperts() / timing.seconds().step()).isLessThan(0.005);
    assertThat(timing.seconds().exposedPipeline() / timing.seconds().step()).isLessThan(0.02);
  }

  @Test
  void onHalfTheNetworkItStillIsButNotWithoutSplitWeightGradients() {
    Gpu gpu = Gpu.find("H800").orElseThrow();
    Gpu slow = gpu.withLinks(gpu.nodeLinkBytesPerSecond(), gpu.networkBytesPerSecond() / 2);
    Timing split = k2(256, 1L << 26, slow, true).timing();
    assertThat(split.expertsHidden()).isGreaterThan(0.99);
    Timing whole = k2(256, 1L << 26, slow, false).timing();
    assertThat(whole.expertsHidden()).isLessThan(0.95);
    assertThat(whole.seconds().pipeline()).isGreaterThan(split.seconds().pipeline());
  }

  @Test
  void onHalfTheNodesLinksSomeOfItShows() {
    Gpu gpu = Gpu.find("H800").orElseThrow();
    Gpu slow = gpu.withLinks(gpu.nodeLinkBytesPerSecond() / 2, gpu.networkBytesPerSecond());
    assertThat(k2(256, 1L << 26, slow, true).timing().expertsHidden()).isBetween(0.9, 0.98);
  }

  /** Two sequences of one micro-batch or one of twice the length: the same tokens. */
  private static Plan onOneGpu(Precision precision, int sequenceLength) {
    return onOneGpu("quickstart", "H100", precision, sequenceLength);
  }

  private static Plan onOneGpu(String preset, String gpu, Precision precision, int sequenceLength) {
    ModelConfig model = ModelPresets.find(preset).orElseThrow();
    int sequences = 2048 / sequenceLength;
    Layout layout =
        new Layout(
            Mesh.SINGLE,
            StageLayout.byCost(model, 1, sequenceLength),
            1,
            sequences,
            false,
            false,
            false);
    return Plan.of(
        new Workload(model, sequenceLength, 2048, 5, RunConfig.Memory.DEFAULT),
        layout,
        new Hardware.Gpus(Gpu.find(gpu).orElseThrow(), 1, precision),
        Calibration.DEFAULT);
  }

  @Test
  void inFloat32AGpuKeepsNoSecondCopyOfTheWeights() {
    RankMemory bf16 = onOneGpu(Precision.BF16, 1024).fullest();
    RankMemory float32 = onOneGpu(Precision.FLOAT32, 1024).fullest();
    long numbers = bf16.gradients() / 4;
    assertThat(float32.gradients()).isEqualTo(bf16.gradients());
    assertThat(float32.parameters()).isEqualTo(bf16.parameters() + 2 * numbers);
    assertThat(float32.optimizer()).isEqualTo(bf16.optimizer() - 4 * numbers);
    assertThat(float32.buffers()).isEqualTo(2 * bf16.buffers());
  }

  /**
   * The kernel that keeps only the logarithms of attention's sums multiplies bf16, on Hopper's
   * tensor cores, with heads as wide as Kimi K2's. Elsewhere all probabilities wait for backward,
   * in float32, and backward has those of one sequence twice.
   */
  @ParameterizedTest
  @CsvSource({
    "moonlight-16b-a3b, H100, false, false",
    "moonlight-16b-a3b, H20, false, false",
    "moonlight-16b-a3b, H100, true, true",
    "moonlight-16b-a3b, A100, false, true",
    "moonlight-16b-a3b, B200, false, true",
    "quickstart, H100, false, true",
    "quickstart, A100, true, true"
  })
  void attentionsProbabilitiesAreCountedWhereTheyAreKept(
      String preset, String gpu, boolean float32, boolean kept) {
    Precision precision = float32 ? Precision.FLOAT32 : Precision.BF16;
    ModelConfig model = ModelPresets.find(preset).orElseThrow();
    // of length 2048, more than of length 1024
    long probabilities = 4L * 2048 * model.numAttentionHeads() * 1024 * model.numHiddenLayers();
    long gradient = 4L * model.numAttentionHeads() * (2048 * 2048 - 1024 * 1024);
    long more =
        onOneGpu(preset, gpu, precision, 2048).fullest().activations()
            - onOneGpu(preset, gpu, precision, 1024).fullest().activations();
    assertThat(more).isEqualTo(kept ? probabilities + gradient : 0);
  }

  @Test
  void theOtherActivationsOfFloat32AreTwiceAsWide() {
    Hardware a100 = gpu("A100", Precision.BF16);
    LossMemory loss =
        LossMemory.of(ModelPresets.find("moonlight-16b-a3b").orElseThrow(), 2048, a100);
    long bf16 = onOneGpu("moonlight-16b-a3b", "A100", Precision.BF16, 64).fullest().activations();
    long float32 =
        onOneGpu("moonlight-16b-a3b", "A100", Precision.FLOAT32, 64).fullest().activations();
    assertThat((double) (float32 - loss.kept()) / (bf16 - loss.kept() - loss.working()))
        .isBetween(1.8, 2.0);
  }

  /** Float32 logits, and in bf16 their gradient as products take it; or some logits at a time. */
  @ParameterizedTest
  @CsvSource({"A100, false, 6", "A100, true, 4", "H100, true, 4", "B200, false, 6"})
  void theLossTakesTheLogitsOfAllTokensWhereItIsNotFused(String gpu, boolean float32, int bytes) {
    Precision precision = float32 ? Precision.FLOAT32 : Precision.BF16;
    ModelConfig model = ModelPresets.find("moonlight-16b-a3b").orElseThrow();
    LossMemory loss = LossMemory.of(model, 8192, gpu(gpu, precision));
    double all = 8192.0 * model.vocabSize();
    assertThat((loss.kept() + loss.working()) / all).isBetween((double) bytes, bytes * 1.01);
    LossMemory fused = LossMemory.of(model, 8192, gpu("H100", Precision.BF16));
    assertThat(fused.kept()).isZero();
    assertThat((double) fused.working()).isBetween(2048 * 2.0 * 163_840, 2048 * 2.5 * 163_840);
  }

  private static Hardware gpu(String name, Precision precision) {
    return new Hardware.Gpus(Gpu.find(name).orElseThrow(), 1, precision);
  }

  /** The vendor's figures are for bf16. */
  @Test
  void inFloat32TheSpeedOfAGpuIsNotKnownUnlessItWasMeasured() {
    assertThat(onOneGpu(Precision.BF16, 1024).timing().seconds()).isNotNull();
    Plan plan = onOneGpu(Precision.FLOAT32, 1024);
    assertThat(plan.timing().seconds()).isNull();
    assertThat(plan.text()).contains("H100, float32", "unknown: the speed of the ranks");
  }

  @ParameterizedTest
  @CsvSource({"2048, 67108864", "32768, 268435456"})
  void largeClustersArePlannedWithinTwoSeconds(int gpus, long batchTokens) {
    long start = System.nanoTime();
    Plan plan = k2(gpus, batchTokens);
    assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(2));
    assertThat(plan.ranks()).isEqualTo(gpus);
  }
}
