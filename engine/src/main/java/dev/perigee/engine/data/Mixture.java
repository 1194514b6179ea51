package dev.perigee.engine.data;

import java.util.Arrays;
import java.util.List;

/**
 * Draws the sequences of a job from sources by their weights. Sequences come in blocks of {@value
 * #BLOCK}; each block holds the same number of every source (its share, and at least one) in an
 * order of its own, so that a sequence's source and its number there follow from its number alone.
 */
final class Mixture {
  static final int BLOCK = 1024;

  private final List<? extends SequenceSource> sources;
  private final int[] perBlock;
  private final long seed;

  /**
   * Mixes sources.
   *
   * @param weights one for each source, positive, and at most {@value #BLOCK}; only their ratios
   *     matter
   */
  Mixture(List<? extends SequenceSource> sources, double[] weights, long seed) {
    this.sources = List.copyOf(sources);
    this.perBlock = shares(weights);
    this.seed = seed;
  }

  /** How many sequences of each block come from each source: largest remainders, at least one. */
  static int[] shares(double[] weights) {
    int n = weights.length;
    if (n > BLOCK) {
      throw new IllegalArgumentException(n + " sources, and a block has " + BLOCK + " sequences");
    }
    double sum = Arrays.stream(weights).sum();
    int[] shares = new int[n];
    int left = BLOCK;
    for (int k = 0; k < n; k++) {
      shares[k] = Math.max(1, (int) (weights[k] / sum * BLOCK));
      left -= shares[k];
    }
    for (; left > 0; left--) {
      shares[furthestBelow(shares, weights, sum)]++;
    }
    for (; left < 0; left++) {
      shares[furthestAbove(shares, weights, sum)]--;
    }
    return shares;
  }

  private static int furthestBelow(int[] shares, double[] weights, double sum) {
    int best = 0;
    for (int k = 1; k < shares.length; k++) {
      if (weights[k] / sum * BLOCK - shares[k] > weights[best] / sum * BLOCK - shares[best]) {
        best = k;
      }
    }
    return best;
  }

  private static int furthestAbove(int[] shares, double[] weights, double sum) {
    int best = -1;
    for (int k = 0; k < shares.length; k++) {
      if (shares[k] > 1
          && (best < 0
              || shares[k] - weights[k] / sum * BLOCK
                  > shares[best] - weights[best] / sum * BLOCK)) {
        best = k;
      }
    }
    return best;
  }

  /** Sequence {@code i} of the job. */
  Sequence sequence(long i) {
    long block = i / BLOCK;
    int[] order = order(block);
    int at = (int) (i % BLOCK);
    int source = sourceOf(order[at]);
    int before = 0;
    for (int j = 0; j < at; j++) {
      if (sourceOf(order[j]) == source) {
        before++;
      }
    }
    return sources.get(source).sequence(block * perBlock[source] + before);
  }

  private int[] order(long block) {
    return Shuffle.permutation(BLOCK, Shuffle.random(seed ^ 0x6d697874757265L, block));
  }

  private int sourceOf(int place) {
    int source = 0;
    for (int p = place; p >= perBlock[source]; source++) {
      p -= perBlock[source];
    }
    return source;
  }
}
