package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.tensor.Indices;
import java.util.Arrays;

/**
 * Which tokens a pass is over: {@code batch} sequences of {@code length} tokens, one after the
 * other.
 *
 * @param positions each token's position in its sequence, until the region that they were made in
 *     is released
 * @param first the position of each sequence's first token
 * @param recording whether statistics are kept
 */
record Tokens(int batch, int length, Indices positions, int first, boolean recording) {

  /**
   * Whole sequences from position 0.
   *
   * @throws IllegalArgumentException when there are not batch · length ids
   */
  static Tokens sequences(Backend backend, int[] ids, int batch, int length, boolean recording) {
    if (batch < 0 || length < 1 || ids.length != batch * length) {
      throw new IllegalArgumentException(
          "%d tokens for %d sequences of %d".formatted(ids.length, batch, length));
    }
    int[] positions = new int[batch * length];
    for (int t = 0; t < positions.length; t++) {
      positions[t] = t % length;
    }
    return new Tokens(batch, length, backend.indices(positions), 0, recording);
  }

  /** One token of each sequence, all at the same position. */
  static Tokens step(Backend backend, int batch, int position) {
    int[] positions = new int[batch];
    Arrays.fill(positions, position);
    return new Tokens(batch, 1, backend.indices(positions), position, false);
  }
}
