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

  /**
   * Throws unless every id is below {@code vocabulary}, and none negative unless that is allowed. A
   * backend that repeats what it has recorded looks at no id.
   *
   * @param what they are, for the message
   */
  static void inVocabulary(String what, int[] ids, int vocabulary, boolean negative) {
    for (int id : ids) {
      if (id >= vocabulary || (id < 0 && !negative)) {
        throw new IllegalArgumentException(
            what + " " + id + " is not in the vocabulary of " + vocabulary);
      }
    }
  }
}
