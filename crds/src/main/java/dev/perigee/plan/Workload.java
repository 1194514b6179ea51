package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;

/**
 * What is to be trained, whatever the layout.
 *
 * @param model its shape
 * @param sequenceLength tokens of a sequence
 * @param batchTokens tokens of an optimizer step over all ranks
 * @param newtonSchulzSteps of Muon; 0 when AdamW updates everything
 * @param memory what is kept of activations, where and how
 */
public record Workload(
    ModelConfig model,
    int sequenceLength,
    long batchTokens,
    int newtonSchulzSteps,
    RunConfig.Memory memory) {

  /** What a run is to train; its model must have a shape. */
  public static Workload of(RunConfig run) {
    boolean muon = run.optimizer().kind() == RunConfig.Optimizer.Kind.MuonClip;
    return new Workload(
        run.model().config(),
        run.sequenceLength(),
        run.batchTokens(),
        muon ? run.optimizer().muon().newtonSchulzSteps() : 0,
        run.memory());
  }

  /** Sequences of an optimizer step over all ranks. */
  public long sequences() {
    return batchTokens / sequenceLength;
  }
}
