package dev.perigee.cli;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Work of a fixed size, so that a limit of time can be judged by the machine as it is just now: one
 * that others share is at times half as fast as when calm.
 */
final class Yardstick {
  /** What it took on two cores that did nothing else, where the quickstart takes 2 min 26 s. */
  private static final Duration CALM = Duration.ofSeconds(3);

  private static final int THREADS = 2; // as many ranks compute at once on two cores
  private static final int SIDE = 192;
  private static final int PRODUCTS = 500;

  private Yardstick() {}

  /** How much longer than on the calm machine the work takes now, never less than 1. */
  static double stretch() {
    long began = System.nanoTime();
    try (ExecutorService threads = Executors.newFixedThreadPool(THREADS)) {
      List<Callable<Float>> work = new ArrayList<>();
      for (int i = 0; i < THREADS; i++) {
        work.add(Yardstick::multiply);
      }
      for (Future<Float> done : threads.invokeAll(work)) {
        if (!Float.isFinite(done.get())) {
          throw new AssertionError("products of numbers below 1 are finite");
        }
      }
    } catch (Exception e) {
      throw new AssertionError(e);
    }
    long took = System.nanoTime() - began;
    System.out.printf(
        "yardstick: %d ms, %d on the calm machine%n", took / 1_000_000, CALM.toMillis());
    return Math.max(1, (double) took / CALM.toNanos());
  }

  private static float multiply() {
    float[] a = new float[SIDE * SIDE];
    float[] b = new float[SIDE * SIDE];
    for (int i = 0; i < a.length; i++) {
      a[i] = (i % 7) / 700f;
      b[i] = (i % 11) / 1100f;
    }
    float sum = 0;
    for (int round = 0; round < PRODUCTS; round++) {
      float[] c = new float[SIDE * SIDE];
      for (int i = 0; i < SIDE; i++) {
        for (int k = 0; k < SIDE; k++) {
          float left = a[i * SIDE + k];
          for (int j = 0; j < SIDE; j++) {
            c[i * SIDE + j] += left * b[k * SIDE + j];
          }
        }
      }
      sum += c[round % c.length];
    }
    return sum;
  }
}
