package dev.perigee.engine.parallel;

import dev.perigee.engine.tensor.Tensor;

/**
 * Operations that the ranks of one group carry out together. Every rank of the group calls the same
 * operations in the same order. Reductions add in a fixed order, so the same ranks with the same
 * numbers give bitwise the same result on every rank and in every run.
 *
 * <p>Every call throws {@link LostPeerException} on every rank of the group within the patience of
 * {@code network.peerSeconds} when a rank of it is gone; nothing waits for ever.
 */
public interface Collectives {
  /** Ranks in the group. */
  int size();

  /** This rank's place in the group, from 0. */
  int index();

  /** Replaces {@code x} on every rank by the sum over the group. */
  void allReduceSum(Tensor x);

  /** Replaces {@code x} on every rank by the elementwise maximum over the group. */
  void allReduceMax(Tensor x);

  /**
   * Exchanges small whole numbers: rank i's {@code values[j]} arrives as the result's {@code [i]}
   * on rank j.
   *
   * @param values one for each rank of the group
   */
  int[] allToAllCounts(int[] values);

  /**
   * Exchanges rows. The first {@code sendRows[0]} rows of {@code send} go to rank 0, the next
   * {@code sendRows[1]} to rank 1, and so on; rows arrive in {@code receive} ordered by the rank
   * that they come from.
   *
   * @param send [Σ sendRows, width]
   * @param receive [Σ receiveRows, width]
   */
  void allToAll(Tensor send, int[] sendRows, Tensor receive, int[] receiveRows);

  /** Copies {@code x} of the rank at {@code root} to every rank. */
  void broadcast(Tensor x, int root);

  /** Concatenates every rank's {@code part} in rank order into {@code whole} on every rank. */
  void allGather(Tensor part, Tensor whole);

  /** Returns when every rank of the group has called it. */
  void barrier();

  /** A group of one rank: nothing is exchanged. */
  static Collectives solo() {
    return SoloCollectives.INSTANCE;
  }
}
