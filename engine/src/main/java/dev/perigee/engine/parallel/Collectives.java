package dev.perigee.engine.parallel;

import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;

/**
 * Operations that the ranks of one group carry out together. Every rank of the group calls the same
 * operations in the same order. Reductions add in a fixed order, so the same ranks with the same
 * numbers give bitwise the same result on every rank and in every run, whichever of them share a
 * pod.
 *
 * <p>Every call throws {@link LostPeerException} on every rank of the group within the patience of
 * {@code network.peerSeconds} when a rank of it is gone; nothing waits for ever. After that the
 * contents of the tensors are unspecified.
 */
public interface Collectives {
  /** Ranks in the group. */
  int size();

  /** This rank's place in the group, from 0. */
  int index();

  /**
   * Memory for numbers that go through these operations again and again, where that is fastest: on
   * the host, or on the device that the group's tensors are on.
   */
  default Tensor buffer(int count) {
    return Tensor.zeros(count);
  }

  /** Replaces {@code x} on every rank by the sum over the group. */
  void allReduceSum(Tensor x);

  /** Replaces {@code x} on every rank by the elementwise maximum over the group. */
  void allReduceMax(Tensor x);

  /** Replaces {@code x} on every rank by the sum over the group: for figures, not for weights. */
  void allReduceSum(double[] x);

  /**
   * Sums {@code x} over the group and leaves each rank one segment of the sum: the first {@code
   * counts[0]} elements to rank 0, the next {@code counts[1]} to rank 1, and so on. The rest of
   * {@code x} is unspecified afterwards. Each sum is bitwise that of {@link #allReduceSum(Tensor)}.
   *
   * @param x the same size on every rank
   * @param counts elements for each rank, the same on every rank, Σ = size of {@code x}
   */
  void reduceScatterSum(Tensor x, int[] counts);

  /**
   * Copies each rank's segment of {@code x} to every rank's {@code x}; segments lie as in {@link
   * #reduceScatterSum}.
   *
   * @param counts elements of each rank, the same on every rank, Σ = size of {@code x}
   */
  void allGather(Tensor x, int[] counts);

  /**
   * Concatenates every rank's {@code part} in rank order into {@code whole} on every rank.
   *
   * @param part the same size on every rank
   */
  default void allGather(Tensor part, Tensor whole) {
    if (whole.size() != Math.multiplyExact(part.size(), size())) {
      throw new IllegalArgumentException(
          "all-gather of " + size() + " times " + part + " into " + whole);
    }
    System.arraycopy(
        part.floats(),
        part.offset(),
        whole.floats(),
        whole.offset() + index() * part.size(),
        part.size());
    int[] counts = new int[size()];
    Arrays.fill(counts, part.size());
    allGather(whole, counts);
  }

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
   * that they come from. The two must not overlap.
   *
   * @param send [Σ sendRows, width]
   * @param receive [Σ receiveRows, width]
   */
  void allToAll(Tensor send, int[] sendRows, Tensor receive, int[] receiveRows);

  /** Copies {@code x} of the rank at {@code root} to every rank. */
  void broadcast(Tensor x, int root);

  /**
   * Sends {@code x} to one rank of the group, and does not wait for that rank. What is sent on one
   * stream arrives in the order in which it was sent; streams do not wait for each other. Unlike
   * the other operations, only the two ranks that exchange something call anything.
   *
   * @param to index of another rank in the group
   * @param stream a number that both know it by, from 0 to 2²³ − 1
   */
  void send(int to, int stream, Tensor x);

  /**
   * Waits for what another rank sends on a stream.
   *
   * @param from index of another rank in the group
   * @param x receives it; the same size as was sent
   */
  void receive(int from, int stream, Tensor x);

  /** Returns when every rank of the group has called it. */
  void barrier();

  /** A group of one rank: nothing is exchanged. */
  static Collectives solo() {
    return SoloCollectives.INSTANCE;
  }
}
