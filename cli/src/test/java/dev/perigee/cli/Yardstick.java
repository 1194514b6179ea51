package dev.perigee.cli;

import java.time.Duration;
import java.util.Collections;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Work of a fixed size, so that a limit of time can be judged by the machine as it is just now: one
 * that others share is at times half as fast as when calm.
 */
final class Yardstick {
  /**
   * What it takes on the calm machine of docs/benchmarks/cpu.md, whose training step is 1.67 times
   * as fast as that of two calm cores with AVX2, where this was 1.5 s.
   */
  private static final Duration CALM = Duration.ofMillis(900);

  private static final int THREADS = 2; // as many ranks compute at once on two cores
  private static final int SIDE = 192;
  private static final int PRODUCTS = 500;
  private static final int ROUNDS = 5;

  private Yardstick() {}

  /** How much longer than on the calm machine the work takes now, never less than 1. */
  static double stretch() {
    long best = Long.MAX_VALUE; // the first rounds are still being compiled
    try (ExecutorService threads = Executors.newFixedThreadPool(THREADS)) {
      for (int round = 0; round < ROUNDS; round++) {
        long began = System.nanoTime();
        for (Future<Float> done :
            threads.invokeAll(Collections.<Callable<Float>>nCopies(THREADS, Yardstick::multiply))) {
          if (!Float.isFinite(done.get())) {
            throw new AssertionError("products of numbers below 1 are finite");
          }
        }
        best = Math.min(best, System.nanoTime() - began);
      }
    } catch (ExecutionException e) {
      throw new AssertionError(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new AssertionError(e);
    }
    System.out.printf(
        "yardstick: %d ms, %d on the calm machine%n", best / 1_000_000, CALM.toMillis());
    return Math.max(1, (double) best / CALM.toNanos());
  }

  private static float multiply() {
    float[] a = new float[SIDE * SIDE];
    float[] b = new float[SIDE * SIDE];
    for (int i = 0; i < a.length; i++) {
      a[i] = (i % 7) / 700f;
      b[i] = (i % 11) / 1100f;
    }
    float sum = 0;
    for (int i = 0; i < PRODUCTS; i++) {
      sum += product(a, b)[i];
    }
    return sum;
  }

  /** A method of its own, which the JVM compiles as a whole after some calls. */
  private static float[] product(float[] a, float[] b) {
    float[] c = new float[SIDE * SIDE];
    for (int i = 0; i < SIDE; i++) {
      for (int k = 0; k < SIDE; k++) {
        float left = a[i * SIDE + k];
        for (int j = 0; j < SIDE; j++) {
          c[i * SIDE + j] += left * b[k * SIDE + j];
        }
      }
    }
    return c;
  }
}
