package dev.perigee.engine.data;

import java.util.SplittableRandom;

/** Randomness by number: what is drawn for a number depends on the seed and that number only. */
final class Shuffle {
  private Shuffle() {}

  /** A generator of its own for one number. */
  static SplittableRandom random(long seed, long number) {
    // The finaliser of MurmurHash3 by Stafford's constants (variant 13): neighbouring numbers must
    // not give neighbouring streams.
    long z = seed * 0x9E3779B97F4A7C15L + number;
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return new SplittableRandom(z ^ (z >>> 31));
  }

  /** The numbers 0 to {@code n - 1} in random order (Fisher and Yates). */
  static int[] permutation(int n, SplittableRandom random) {
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      int j = random.nextInt(i + 1);
      order[i] = order[j];
      order[j] = i;
    }
    return order;
  }
}
