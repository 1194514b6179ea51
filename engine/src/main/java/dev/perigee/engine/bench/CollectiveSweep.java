package dev.perigee.engine.bench;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.bench.GangWork.Collective;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Every collective of a group in a range of sizes, as one rank takes part: first its result beside
 * what the CPU computes, number by number, then its time. Numbers are small and whole, so sums are
 * exact in any order and results must be equal.
 */
final class CollectiveSweep {
  /** Numbers that are made and compared at a time. */
  private static final int PART = 1 << 22;

  private static final int MODULUS = 101;

  private final Backend backend;
  private final Collectives group;
  private final int repeats;
  private final List<Collective> done = new ArrayList<>();

  /**
   * {@link #number} by rank and {@code i}, sums and largest by {@code i}: all repeat themselves.
   */
  private final int[][] numbers;

  private final float[] sums = new float[MODULUS];
  private final float[] largest = new float[MODULUS];

  CollectiveSweep(Backend backend, Collectives group, int repeats) {
    this.backend = backend;
    this.group = group;
    this.repeats = repeats;
    numbers = new int[group.size()][MODULUS];
    Arrays.fill(largest, Float.NEGATIVE_INFINITY);
    for (int r = 0; r < numbers.length; r++) {
      for (int i = 0; i < MODULUS; i++) {
        numbers[r][i] = (i * 7 + r * 13) % MODULUS - MODULUS / 2;
        sums[i] += numbers[r][i];
        largest[i] = Math.max(largest[i], numbers[r][i]);
      }
    }
  }

  /** What rank {@code r} has at place {@code i} before an operation. */
  private int number(int r, long i) {
    return numbers[r][(int) (i % MODULUS)];
  }

  /** A number of the result. */
  @FunctionalInterface
  private interface Expected {
    float at(long i);
  }

  /** An operation on tensors that are there already. */
  @FunctionalInterface
  private interface Operation {
    void run();
  }

  /** All of it, in the same order on every rank. */
  List<Collective> run(List<Long> sizes) {
    for (long size : sizes) {
      sweep(Math.toIntExact(size));
    }
    figures();
    return done;
  }

  private void sweep(int n) {
    int ranks = group.size();
    int me = group.index();
    Tensor x = backend.zeros(n);
    int[] even = shares(n, ranks);
    int[] starts = starts(even);

    measure("all-reduce sum", x, 0, n, i -> sum(i), () -> group.allReduceSum(x));
    measure("all-reduce max", x, 0, n, i -> max(i), () -> group.allReduceMax(x));
    measure(
        "reduce-scatter",
        x,
        starts[me],
        even[me],
        i -> sum(i),
        () -> group.reduceScatterSum(x, even));
    measure(
        "all-gather", x, 0, n, i -> number(owner(starts, i), i), () -> group.allGather(x, even));
    measure("broadcast", x, 0, n, i -> number(ranks - 1, i), () -> group.broadcast(x, ranks - 1));
    rows("all-to-all", n, x, (from, to) -> even[to]);
    rows("all-to-all, uneven and empty", n, x, (from, to) -> uneven(n, ranks, from, to));
  }

  /** Rows from one rank for another. */
  @FunctionalInterface
  private interface Rows {
    int count(int from, int to);
  }

  private void rows(String name, int n, Tensor x, Rows rows) {
    int ranks = group.size();
    int me = group.index();
    int[] send = new int[ranks];
    Arrays.setAll(send, to -> rows.count(me, to));
    int sent = Arrays.stream(send).sum();
    int[] receive = group.allToAllCounts(send);
    boolean counts = true;
    for (int from = 0; from < ranks; from++) {
      counts &= receive[from] == rows.count(from, me);
    }
    int received = Arrays.stream(receive).sum();
    int[] arrivals = starts(receive);
    Tensor into = backend.zeros(received, 1);
    fill(x);
    Tensor out = x.slice(0, sent).view(sent, 1);
    group.allToAll(out, send, into, receive);
    boolean right =
        counts
            && equal(
                into,
                0,
                received,
                i -> {
                  int from = owner(arrivals, i);
                  long place = i - arrivals[from];
                  for (int to = 0; to < me; to++) {
                    place += rows.count(from, to);
                  }
                  return number(from, place);
                });
    done.add(
        new Collective(name, n, right, seconds(() -> group.allToAll(out, send, into, receive))));
  }

  /** Shares of which some are empty, together at most n. */
  private static int uneven(int n, int ranks, int from, int to) {
    return (int) ((from + 2L * to) % 3 * n / (2L * ranks));
  }

  private void figures() {
    double[] x = {group.index() + 1, 0.5};
    group.allReduceSum(x);
    int ranks = group.size();
    boolean right = x[0] == ranks * (ranks + 1) / 2.0 && x[1] == ranks / 2.0;
    done.add(new Collective("sum of figures", x.length, right, 0));
  }

  private void measure(
      String name, Tensor x, int from, int count, Expected expected, Operation operation) {
    fill(x);
    operation.run();
    boolean right = equal(x, from, count, expected);
    done.add(new Collective(name, x.size(), right, seconds(operation)));
  }

  /** Median; ranks begin each repeat together. */
  private double seconds(Operation operation) {
    double[] seconds = new double[repeats];
    for (int i = 0; i < repeats; i++) {
      group.barrier();
      long start = System.nanoTime();
      operation.run();
      seconds[i] = (System.nanoTime() - start) / 1e9;
    }
    return GpuLab.median(seconds);
  }

  private void fill(Tensor x) {
    for (int at = 0; at < x.size(); at += PART) {
      Tensor part = Tensor.zeros(Math.min(PART, x.size() - at));
      for (int i = 0; i < part.size(); i++) {
        part.floats()[i] = number(group.index(), at + i);
      }
      x.slice(at, part.size()).assign(part);
    }
  }

  private static boolean equal(Tensor x, int from, int count, Expected expected) {
    Tensor flat = x.view(x.size());
    for (int at = from; at < from + count; at += PART) {
      Tensor part = flat.slice(at, Math.min(PART, from + count - at)).onHost();
      for (int i = 0; i < part.size(); i++) {
        if (part.floats()[part.offset() + i] != expected.at(at + i)) {
          return false;
        }
      }
    }
    return true;
  }

  private float sum(long i) {
    return sums[(int) (i % MODULUS)];
  }

  private float max(long i) {
    return largest[(int) (i % MODULUS)];
  }

  private static int[] shares(int n, int ranks) {
    int[] shares = new int[ranks];
    Arrays.setAll(shares, i -> (int) ((long) n * (i + 1) / ranks) - (int) ((long) n * i / ranks));
    return shares;
  }

  private static int[] starts(int[] counts) {
    int[] starts = new int[counts.length + 1];
    for (int i = 0; i < counts.length; i++) {
      starts[i + 1] = starts[i] + counts[i];
    }
    return starts;
  }

  private static int owner(int[] starts, long i) {
    int owner = 0;
    while (i >= starts[owner + 1]) {
      owner++;
    }
    return owner;
  }
}
