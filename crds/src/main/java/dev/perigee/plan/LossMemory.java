package dev.perigee.plan;

import dev.perigee.run.ModelConfig;

/**
 * Bytes that the last product and the loss take, in sizes of the engine's arenas.
 *
 * @param fused whether the logits of some tokens are made at a time, and their gradient goes back
 *     at once: the gradient of the product's input waits for backward instead of them
 * @param kept from a micro-batch's forward to its backward, but for that gradient
 * @param working which the rank takes once, whatever the number of micro-batches
 */
public record LossMemory(boolean fused, long kept, long working) {
  /** Tokens whose logits the fused kernels hold at a time. */
  private static final int FUSED_TOKENS = 2048;

  /** Columns of logits whose largest and sum the fused kernels keep together. */
  private static final int FUSED_COLUMNS = 256;

  /** Of a micro-batch of so many tokens. */
  public static LossMemory of(ModelConfig model, long tokens, Hardware hardware) {
    int v = model.vocabSize();
    if (hardware.fusesLoss(model)) {
      long ofToken = 2L * v + 8L * Math.ceilDiv(v, FUSED_COLUMNS) + 4;
      return new LossMemory(true, 0, held(Math.min(tokens, FUSED_TOKENS) * ofToken + 16));
    }
    // Logits are float32 and become their gradient, which products multiply in bf16.
    boolean rounded = hardware.precision().equals(Hardware.Precision.BF16);
    return new LossMemory(false, held(4 * tokens * v), rounded ? held(2 * tokens * v) : 0);
  }

  private static long held(long bytes) {
    return 4 * ArenaSize.of(Math.ceilDiv(bytes, 4));
  }
}
