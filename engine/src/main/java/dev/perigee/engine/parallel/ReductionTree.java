package dev.perigee.engine.parallel;

import java.util.ArrayList;
import java.util.List;

/**
 * The order in which the numbers of a group are combined: a binary tree over the members by their
 * index, whose left part is always the largest full tree. Four members give {@code (x0 + x1) + (x2
 * + x3)}. The tree depends on nothing but the size of the group, so it does not matter which
 * members share a pod: a pod combines the subtrees that it holds alone, and the rest is combined
 * from those.
 */
final class ReductionTree {
  private ReductionTree() {}

  /** The members {@code first} to {@code end - 1}, all of one pod. */
  record Subtree(int pod, int first, int end) {}

  /** Where the members {@code first} to {@code end - 1} part in two; at least two of them. */
  static int middle(int first, int end) {
    return first + Integer.highestOneBit(end - first - 1);
  }

  /**
   * The largest subtrees whose members are all in one pod, from left to right.
   *
   * @param podOf pod of each member
   */
  static List<Subtree> subtrees(int[] podOf) {
    List<Subtree> found = new ArrayList<>();
    collect(podOf, 0, podOf.length, found);
    return List.copyOf(found);
  }

  private static void collect(int[] podOf, int first, int end, List<Subtree> found) {
    boolean alone = true;
    for (int i = first + 1; i < end; i++) {
      alone &= podOf[i] == podOf[first];
    }
    if (alone) {
      found.add(new Subtree(podOf[first], first, end));
      return;
    }
    int middle = middle(first, end);
    collect(podOf, first, middle, found);
    collect(podOf, middle, end, found);
  }

  /** Combines the value of one member into that of another, which lies to its left. */
  @FunctionalInterface
  interface Combine {
    void into(int left, int right);
  }

  /**
   * Combines the members {@code first} to {@code end - 1} into {@code first}.
   *
   * @param done {@code done[i]} is the end of a subtree that is combined into i already, else 0
   */
  static void reduce(int first, int end, int[] done, Combine combine) {
    if (end - first == 1 || done[first] == end) {
      return;
    }
    int middle = middle(first, end);
    reduce(first, middle, done, combine);
    reduce(middle, end, done, combine);
    combine.into(first, middle);
  }
}
