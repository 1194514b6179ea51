package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Indices;

/**
 * Rows of (token, chosen expert) pairs, one expert after the other and each in the order of tokens.
 *
 * @param offsets_E1 the first row of each expert, then how many rows there are
 * @param slot_TK the row of each pair
 * @param pair_S the pair of each row
 */
public record ExpertRows(Indices offsets_E1, Indices slot_TK, Indices pair_S) {

  /** Sorts pairs by their expert, on the host. */
  static ExpertRows of(int[] chosen_TK, int experts) {
    int[] offsets = new int[experts + 1];
    for (int e : chosen_TK) {
      offsets[e + 1]++;
    }
    for (int e = 0; e < experts; e++) {
      offsets[e + 1] += offsets[e];
    }
    int[] next = offsets.clone();
    int[] slot = new int[chosen_TK.length];
    int[] pair = new int[chosen_TK.length];
    for (int i = 0; i < chosen_TK.length; i++) {
      slot[i] = next[chosen_TK[i]]++;
      pair[slot[i]] = i;
    }
    return new ExpertRows(Indices.of(offsets), Indices.of(slot), Indices.of(pair));
  }
}
