package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Storage;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.function.IntFunction;

/**
 * Memory for activations, taken and given back in scopes, so that a training step allocates nothing
 * once it is warm. Belongs to one rank's thread.
 *
 * <p>{@link #take} hands out memory that keeps whatever it held: an operation that writes into it
 * must write all of it.
 */
public final class Arena {
  private static final int SMALLEST = 256;

  private final IntFunction<Storage> allocate;
  private final NavigableMap<Integer, Deque<Storage>> free = new TreeMap<>();
  private final List<Storage> taken = new ArrayList<>();
  private long currentBytes;
  private long peakBytes;
  private long reservedBytes;

  /** An arena whose memory comes from {@code allocate}, which is given a number of elements. */
  public Arena(IntFunction<Storage> allocate) {
    this.allocate = allocate;
  }

  /** Gives back, at its close, everything that was taken since it was opened. */
  public final class Scope implements AutoCloseable {
    private final int mark = taken.size();

    private Scope() {}

    @Override
    public void close() {
      while (taken.size() > mark) {
        Storage storage = taken.removeLast();
        currentBytes -= 4L * storage.length();
        free.computeIfAbsent(storage.length(), size -> new ArrayDeque<>()).push(storage);
      }
    }
  }

  /** Opens a scope; scopes close in the reverse order. */
  public Scope open() {
    return new Scope();
  }

  /** A tensor until the innermost open scope closes. Its numbers are undefined. */
  public Tensor take(int... shape) {
    int n = 1;
    for (int d : shape) {
      n = Math.multiplyExact(n, d);
    }
    int size = sizeClass(n);
    Deque<Storage> reusable = free.get(size);
    Storage storage;
    if (reusable == null || reusable.isEmpty()) {
      storage = allocate.apply(size);
      reservedBytes += 4L * size;
    } else {
      storage = reusable.pop();
    }
    taken.add(storage);
    currentBytes += 4L * size;
    peakBytes = Math.max(peakBytes, currentBytes);
    return new Tensor(storage, 0, shape);
  }

  /** Bytes handed out now. */
  public long currentBytes() {
    return currentBytes;
  }

  /** The most bytes that were handed out at one time. */
  public long peakBytes() {
    return peakBytes;
  }

  /** Bytes allocated so far, in use or free. */
  public long reservedBytes() {
    return reservedBytes;
  }

  /**
   * The next size of a series that grows by an eighth to a quarter a step: routing changes the
   * number of an expert's tokens from step to step, and near sizes must share memory.
   */
  private static int sizeClass(int n) {
    if (n <= SMALLEST) {
      return SMALLEST;
    }
    int eighth = Integer.highestOneBit(n - 1) / 4;
    long rounded = ((long) n + eighth - 1) / eighth * eighth;
    return (int) Math.min(rounded, Integer.MAX_VALUE - 8);
  }
}
