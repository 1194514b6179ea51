package dev.perigee.plan;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;

/**
 * What ZeRO stage 1 with whole matrices comes to: each weight that a group of ranks holds together
 * is updated by one of them, the costliest first going to whoever has least so far. This is the
 * engine's rule over shapes alone; a test holds the two together.
 */
final class Ownership {
  /** Cost of an elementwise update in operations for each number: it waits for memory. */
  private static final double ELEMENT_COST = 50;

  private Ownership() {}

  /**
   * A rank's share.
   *
   * @param muonNumbers numbers that Muon updates
   * @param adamNumbers numbers that AdamW updates
   * @param newtonSchulzFlops operations of its orthogonalisations
   * @param largestMatrix numbers of the largest matrix that it orthogonalises
   * @param largestGram numbers of the largest Gram matrix of those
   */
  record Share(
      long muonNumbers,
      long adamNumbers,
      double newtonSchulzFlops,
      long largestMatrix,
      long largestGram) {
    static final Share NONE = new Share(0, 0, 0, 0, 0);

    Share plus(Share o) {
      return new Share(
          muonNumbers + o.muonNumbers,
          adamNumbers + o.adamNumbers,
          newtonSchulzFlops + o.newtonSchulzFlops,
          Math.max(largestMatrix, o.largestMatrix),
          Math.max(largestGram, o.largestGram));
    }

    /**
     * Bytes of float32 state: one momentum for Muon, two moments for AdamW, and precise weights.
     */
    long bytes(Hardware.Precision precision) {
      return 4 * muonNumbers + 8 * adamNumbers + precision.master() * (muonNumbers + adamNumbers);
    }
  }

  /**
   * The shares of a group.
   *
   * @param shapes the weights in the order of their declaration
   * @param owners ranks of the group
   * @param newtonSchulzSteps of Muon; 0 when AdamW updates everything
   */
  static List<Share> shares(List<WeightShape> shapes, int owners, int newtonSchulzSteps) {
    record Owner(int index, double load) {}
    List<WeightShape> each = new ArrayList<>();
    for (WeightShape shape : shapes) {
      for (int copy = 0; copy < shape.copies() && shape.kind().trained(); copy++) {
        each.add(shape);
      }
    }
    // A stable sort keeps the order of declaration among equals, as the engine does.
    each.sort(Comparator.comparingDouble(shape -> -cost(shape, newtonSchulzSteps)));
    PriorityQueue<Owner> least =
        new PriorityQueue<>(
            Comparator.<Owner>comparingDouble(Owner::load).thenComparingInt(Owner::index));
    List<Share> shares = new ArrayList<>();
    for (int o = 0; o < owners; o++) {
      least.add(new Owner(o, 0));
      shares.add(Share.NONE);
    }
    for (WeightShape shape : each) {
      Owner owner = least.remove();
      shares.set(owner.index, shares.get(owner.index).plus(share(shape, newtonSchulzSteps)));
      least.add(new Owner(owner.index, owner.load + cost(shape, newtonSchulzSteps)));
    }
    return shares;
  }

  private static Share share(WeightShape shape, int steps) {
    if (!shape.kind().muon() || steps == 0) {
      return new Share(0, shape.size(), 0, 0, 0);
    }
    long small = Math.min(shape.rows(), shape.columns());
    return new Share(shape.size(), 0, newtonSchulzFlops(shape, steps), shape.size(), small * small);
  }

  private static double cost(WeightShape shape, int steps) {
    double cost = ELEMENT_COST * shape.size();
    return shape.kind().muon() && steps > 0 ? cost + newtonSchulzFlops(shape, steps) : cost;
  }

  /** Two products with the Gram matrix and its square, for each step of the iteration. */
  static double newtonSchulzFlops(WeightShape shape, int steps) {
    double k = Math.min(shape.rows(), shape.columns());
    return steps * (4.0 * k * shape.size() + 2.0 * k * k * k);
  }
}
