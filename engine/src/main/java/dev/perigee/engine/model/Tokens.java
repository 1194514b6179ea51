package dev.perigee.engine.model;

import java.util.Arrays;

/**
 * Which tokens a pass is over: {@code batch} sequences of {@code length} tokens, one after the
 * other.
 *
 * @param positions each token's position in its sequence
 * @param recording whether statistics are kept
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
record Tokens(int batch, int length, int[] positions, boolean recording) {

  /**
   * Whole sequences from position 0.
   *
   * @throws IllegalArgumentException when there are not batch · length ids
   */
  static Tokens sequences(int[] ids, int batch, int length, boolean recording) {
    if (batch < 0 || length < 1 || ids.length != batch * length) {
      throw new IllegalArgumentException(
          "%d tokens for %d sequences of %d".formatted(ids.length, batch, length));
    }
    int[] positions = new int[batch * length];
    for (int t = 0; t < positions.length; t++) {
      positions[t] = t % length;
    }
    return new Tokens(batch, length, positions, recording);
  }

  /** One token of each sequence, all at the same position. */
  static Tokens step(int batch, int position) {
    int[] positions = new int[batch];
    Arrays.fill(positions, position);
    return new Tokens(batch, 1, positions, false);
  }
}
