package dev.perigee.engine.bench;

import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import java.util.concurrent.locks.LockSupport;

/**
 * The operations of a group whose exchanges of rows take at least as long as a network between its
 * pods would: what the loopback does in no time, this waits for, without computing, as a processor
 * does whose network card is at work. What arrives is what the group beneath delivers.
 *
 * @param beneath carries everything out
 * @param ranksPerPod ranks of the group that need no network between them, in its order
 * @param network between the pods
 */
record PacedLinks(Collectives beneath, int ranksPerPod, Network network) implements Collectives {
  /**
   * A network as one rank has it.
   *
   * @param bytesPerSecond of each rank, each way
   * @param latencyNanos before the first byte of an exchange arrives
   */
  record Network(double bytesPerSecond, long latencyNanos) {
    /** Gigabit Ethernet for each rank. */
    static final Network GIGABIT = new Network(125e6, 100_000);

    /** Nanoseconds in which so many bytes go out and so many come in, both at the same time. */
    long nanos(long sent, long received) {
      return latencyNanos + (long) (1e9 * Math.max(sent, received) / bytesPerSecond);
    }
  }

  @Override
  public int size() {
    return beneath.size();
  }

  @Override
  public int index() {
    return beneath.index();
  }

  @Override
  public Tensor buffer(int count) {
    return beneath.buffer(count);
  }

  @Override
  public void allToAll(Tensor send, int[] sendRows, Tensor receive, int[] receiveRows) {
    long begin = System.nanoTime();
    beneath.allToAll(send, sendRows, receive, receiveRows);
    long end =
        begin + network.nanos(ofOtherPods(send, sendRows), ofOtherPods(receive, receiveRows));
    for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
      LockSupport.parkNanos(left);
    }
  }

  /** Bytes of the rows that are for, or from, ranks of other pods. */
  private long ofOtherPods(Tensor rows, int[] counts) {
    long all = 0;
    long others = 0;
    for (int i = 0; i < counts.length; i++) {
      all += counts[i];
      others += i / ranksPerPod == index() / ranksPerPod ? 0 : counts[i];
    }
    return all == 0 ? 0 : (long) Float.BYTES * rows.size() / all * others;
  }

  @Override
  public void allReduceSum(Tensor x) {
    beneath.allReduceSum(x);
  }

  @Override
  public void allReduceMax(Tensor x) {
    beneath.allReduceMax(x);
  }

  @Override
  public void allReduceSum(double[] x) {
    beneath.allReduceSum(x);
  }

  @Override
  public void reduceScatterSum(Tensor x, int[] counts) {
    beneath.reduceScatterSum(x, counts);
  }

  @Override
  public void allGather(Tensor x, int[] counts) {
    beneath.allGather(x, counts);
  }

  @Override
  public int[] allToAllCounts(int[] values) {
    return beneath.allToAllCounts(values);
  }

  @Override
  public void broadcast(Tensor x, int root) {
    beneath.broadcast(x, root);
  }

  @Override
  public void send(int to, int stream, Tensor x) {
    beneath.send(to, stream, x);
  }

  @Override
  public void receive(int from, int stream, Tensor x) {
    beneath.receive(from, stream, x);
  }

  @Override
  public void barrier() {
    beneath.barrier();
  }
}
