package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.tensor.Indices;

/**
 * Which tokens a pass is over: {@code batch} sequences of {@code length} tokens, one after the
 * other.
 *
 * @param positions each token's position in its sequence, until the region that they were made in
 *     is released
 * @param recording whether statistics are kept
 */
record Tokens(int batch, int length, Indices positions, boolean recording) {

  /**
   * Whole sequences from position 0.
   *
   * @throws IllegalArgumentException when there are not batch · length ids
   */
  static Tokens sequences(Backend backend, int[] ids, int batch, int length, boolean recording) {
    check(ids, batch, length);
    return new Tokens(batch, length, backend.indices(positions(batch, length)), recording);
  }

  /** Throws unless there are batch · length ids. */
  static void check(int[] ids, int batch, int length) {
    if (batch < 0 || length < 1 || ids.length != batch * length) {
      throw new IllegalArgumentException(
          "%d tokens for %d sequences of %d".formatted(ids.length, batch, length));
    }
  }

  /** Each token's position in its sequence, for sequences from position 0. */
  static int[] positions(int batch, int length) {
    int[] positions = new int[batch * length];
    for (int t = 0; t < positions.length; t++) {
      positions[t] = t % length;
    }
    return positions;
  }
}
