package dev.perigee.plan;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;
import java.util.stream.IntStream;

/**
 * What ZeRO stage 1 with whole matrices comes to: each weight that a group of ranks holds together
 * is updated by one of them, the costliest first going to whoever has least so far. The engine
 * deals its parameters out by the same {@link #owners} and {@link #cost}.
 */
public final class Ownership {
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
    List<WeightShape> each = new ArrayList<>();
    for (WeightShape shape : shapes) {
      for (int copy = 0; copy < shape.copies() && shape.kind().trained(); copy++) {
        each.add(shape);
      }
    }
    int[] owner =
        owners(each.stream().mapToDouble(s -> cost(s, newtonSchulzSteps)).toArray(), owners);
    List<Share> shares = new ArrayList<>(Collections.nCopies(owners, Share.NONE));
    for (int i = 0; i < owner.length; i++) {
      shares.set(owner[i], shares.get(owner[i]).plus(share(each.get(i), newtonSchulzSteps)));
    }
    return shares;
  }

  /**
   * The owner of each thing of a cost: the costliest first goes to whoever has least so far, equals
   * in their given order to the lower index.
   */
  public static int[] owners(double[] costs, int owners) {
    record Owner(int index, double load) {}
    PriorityQueue<Owner> least =
        new PriorityQueue<>(
            Comparator.<Owner>comparingDouble(Owner::load).thenComparingInt(Owner::index));
    for (int o = 0; o < owners; o++) {
      least.add(new Owner(o, 0));
    }
    int[] owner = new int[costs.length];
    IntStream.range(0, costs.length)
        .boxed()
        .sorted(Comparator.comparingDouble(i -> -costs[i]))
        .forEachOrdered(
            i -> {
              Owner next = least.remove();
              owner[i] = next.index;
              least.add(new Owner(next.index, next.load + costs[i]));
            });
    return owner;
  }

  /**
   * What updating a weight takes, in operations.
   *
   * @param numbers of the weight
   * @param products operations of its orthogonalisation, 0 when AdamW updates it
   */
  public static double cost(long numbers, double products) {
    return ELEMENT_COST * numbers + products;
  }

  /**
   * Operations of Muon's orthogonalisation of a matrix: two products with the Gram matrix of its
   * small side and one square of that, in each step of the iteration.
   */
  public static double newtonSchulzFlops(long rows, long columns, int steps) {
    double k = Math.min(rows, columns);
    return steps * (4.0 * k * rows * columns + 2.0 * k * k * k);
  }

  private static Share share(WeightShape shape, int steps) {
    if (!shape.kind().muon() || steps == 0) {
      return new Share(0, shape.size(), 0, 0, 0);
    }
    long small = Math.min(shape.rows(), shape.columns());
    return new Share(
        shape.size(),
        0,
        newtonSchulzFlops(shape.rows(), shape.columns(), steps),
        shape.size(),
        small * small);
  }

  private static double cost(WeightShape shape, int steps) {
    return cost(shape.size(), share(shape, steps).newtonSchulzFlops());
  }
}
