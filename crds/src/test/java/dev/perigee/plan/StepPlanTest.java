package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

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

  /** Beyond an int, and what would fill the operator's memory when it looks what is offloaded. */
  @ParameterizedTest
  @CsvSource({"1000000000000, 2, false", "8589934592, 128, true"})
  void moreMicroBatchesThanAScheduleHoldsAreRefused(long batch, int length, boolean offload) {
    RunConfig run = run(batch, length, offload);

    assertThat(run.problems()).isEmpty();
    assertThat(StepPlan.problems(run, QUICKSTART))
        .singleElement()
        .asString()
        .startsWith("parallelism.microBatchSequences: the " + batch / length / 2 + " sequences")
        .contains("a step has at most 1048576");
  }

  @Test
  void aMillionMicroBatchesAreLookedAtInABlink() {
    assertThat(StepPlan.problems(run((1L << 21) * 2, 2, true), QUICKSTART))
        .singleElement()
        .asString()
        .startsWith("memory.offload: no activation waits long enough")
        .contains("1048576 micro-batches");
  }

  /** A tensor has as many numbers as an array at most. */
  @ParameterizedTest
  @CsvSource({
    "quickstart, cpu, fp32, 23170, 1, true", // four heads
    "quickstart, cpu, fp32, 23171, 1, false",
    "quickstart, cuda, bf16, 23171, 1, false",
    "moonlight-16b-a3b, cpu, fp32, 11585, 1, true", // sixteen
    "moonlight-16b-a3b, cpu, fp32, 11586, 1, false",
    "moonlight-16b-a3b, cuda, fp32, 11586, 1, false",
    "moonlight-16b-a3b, cuda, bf16, 32768, 1, true", // where Hopper's kernel keeps none
    "moonlight-16b-a3b, cpu, fp32, 4096, 8, false"
  })
  void aSequenceThatNoTensorHoldsTheProbabilitiesOfIsRefused(
      String preset,
      RunConfig.Compute.Backend backend,
      RunConfig.Compute.Precision precision,
      int length,
      int microBatch,
      boolean possible) {
    ModelConfig model = ModelPresets.find(preset).orElseThrow();
    List<String> problems =
        tooLarge(model, backend, precision, length, microBatch, "probabilities");
    if (possible) {
      assertThat(problems).isEmpty();
    } else {
      assertThat(problems)
          .singleElement()
          .asString()
          .startsWith(
              "sequenceLength: %d in micro-batches of %d sequences gives attention %d probabilities"
                  .formatted(
                      length,
                      microBatch,
                      (long) microBatch * model.numAttentionHeads() * length * length))
          .contains("a tensor holds at most 2147483639")
          .contains(microBatch == 1 ? "a sequenceLength of at most" : "microBatchSequences");
    }
  }

  @ParameterizedTest
  @CsvSource({
    "cpu, fp32, 13107, 1,", // 163840 words
    "cpu, fp32, 13108, 1, a sequenceLength of at most 13107",
    "cpu, fp32, 1024, 13, microBatchSequences of at most 12",
    "cuda, fp32, 13108, 1, a sequenceLength of at most 13107",
    "cuda, bf16, 32768, 1," // where Hopper's kernels hold some at a time
  })
  void aMicroBatchThatNoTensorHoldsTheLogitsOfIsRefused(
      RunConfig.Compute.Backend backend,
      RunConfig.Compute.Precision precision,
      int length,
      int microBatch,
      String use) {
    ModelConfig model = ModelPresets.find("moonlight-16b-a3b").orElseThrow();
    List<String> problems = tooLarge(model, backend, precision, length, microBatch, "logits");
    if (use == null) {
      assertThat(problems).isEmpty();
    } else {
      assertThat(problems)
          .containsExactly(
              ("sequenceLength: %d in micro-batches of %d sequences gives the loss %d logits of"
                      + " 163840 words, and a tensor holds at most 2147483639 numbers; use %s")
                  .formatted(length, microBatch, 163_840L * length * microBatch, use));
    }
  }

  private static List<String> tooLarge(
      ModelConfig model,
      RunConfig.Compute.Backend backend,
      RunConfig.Compute.Precision precision,
      int length,
      int microBatch,
      String of) {
    RunConfig run =
        run(64L * microBatch * length, length, false)
            .with(new RunConfig.Pipeline(1, microBatch, false, false, null))
            .with(new RunConfig.Compute(backend, precision));
    return StepPlan.problems(run, model).stream().filter(p -> p.contains(of)).toList();
  }

  private static final ModelConfig QUICKSTART = ModelPresets.find("quickstart").orElseThrow();

  private static RunConfig run(long batchTokens, int sequenceLength, boolean offload) {
    return new RunConfig(
            "default/a",
            1,
            new RunConfig.Model(QUICKSTART, null),
            List.of(new RunConfig.DataSource("sums", 1, "arithmetic", null)),
            new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
            sequenceLength,
            batchTokens,
            new Mesh(2, 2, 1, 1),
            RunConfig.Optimizer.DEFAULT,
            new RunConfig.Schedule(0.002, 0, 0, 0),
            100,
            new RunConfig.Checkpoint("checkpoints", 10, 2),
            null,
            RunConfig.Network.DEFAULT)
        .with(new RunConfig.Pipeline(1, 1, false, false, null))
        .with(new RunConfig.Memory(Set.of(), Set.of(), offload, 32));
  }
}
