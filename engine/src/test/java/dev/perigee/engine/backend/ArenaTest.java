package dev.perigee.engine.backend;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class ArenaTest {
  /** An ArithmeticException in a step means that the model has diverged. */
  @Test
  void whatNoTensorHoldsIsSaidToBeTooLarge() {
    assertThatThrownBy(() -> new CpuBackend().arena().take(1 << 15, 163_840))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "a tensor of shape [32768, 163840] has 5368709120 numbers and can have 2147483639; use"
                + " smaller micro-batches (microBatchSequences) or shorter sequences");
    AttentionShape shape = new AttentionShape(2, 16_384, 16, 128, 64, 128, 1);
    assertThatThrownBy(shape::probabilities)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "attention over 2 sequences of 16384 tokens keeps 8589934592 probabilities of 16 heads"
                + " in a tensor, which can have 2147483639 numbers; use smaller micro-batches"
                + " (microBatchSequences) or shorter sequences");
  }
}
