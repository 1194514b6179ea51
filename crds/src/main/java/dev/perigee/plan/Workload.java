package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import java.util.Set;

/**
 * What is to be trained, whatever the layout.
 *
 * @param model its shape
 * @param sequenceLength tokens of a sequence
 * @param batchTokens tokens of an optimizer step over all ranks
 * @param newtonSchulzSteps of Muon; 0 when AdamW updates everything
 * @param recompute activations that backward computes again
 * @param fp8 whether the inputs of experts and of SwiGLU are kept as FP8
 */
public record Workload(
    ModelConfig model,
    int sequenceLength,
    long batchTokens,
    int newtonSchulzSteps,
    Set<Recompute> recompute,
    boolean fp8) {

  /** Activations that need not be kept (Kimi K2 report, section 2.4). */
  public enum Recompute {
    /** Outputs of RMSNorm. */
    NORMS,
    /** Outputs of SwiGLU. */
    SWIGLU,
    /** Queries, keys and values from their latents. */
    MLA_UP,
    /** Outputs of the routed experts. */
    EXPERT_DOWN
  }

  public Workload {
    recompute = Set.copyOf(recompute);
  }

  /** Sequences of an optimizer step over all ranks. */
  public long sequences() {
    return batchTokens / sequenceLength;
  }
}
