package dev.perigee.engine.bench;

import dev.perigee.engine.backend.Gemm;
import java.util.HashMap;
import java.util.Map;

/** A product that notes how long each of its shapes took. For one thread. */
final class MeteredGemm implements Gemm {
  /** What decides how fast a product can be. */
  record Shape(boolean transposeA, boolean transposeB, boolean adding, int m, int n, int k) {
    double flops() {
      return 2.0 * m * n * k;
    }
  }

  /** Calls of one shape and the time they took together. */
  static final class Total {
    long calls;
    long nanos;
  }

  private final Gemm gemm;
  private final Map<Shape, Total> totals = new HashMap<>();

  MeteredGemm(Gemm gemm) {
    this.gemm = gemm;
  }

  Map<Shape, Total> totals() {
    return totals;
  }

  void reset() {
    totals.clear();
  }

  @Override
  public void multiply(
      boolean transposeA,
      boolean transposeB,
      int m,
      int n,
      int k,
      float alpha,
      float[] a,
      int aAt,
      int lda,
      float[] b,
      int bAt,
      int ldb,
      float beta,
      float[] c,
      int cAt,
      int ldc) {
    long started = System.nanoTime();
    gemm.multiply(
        transposeA, transposeB, m, n, k, alpha, a, aAt, lda, b, bAt, ldb, beta, c, cAt, ldc);
    long nanos = System.nanoTime() - started;
    Total total =
        totals.computeIfAbsent(
            new Shape(transposeA, transposeB, beta != 0, m, n, k), shape -> new Total());
    total.calls++;
    total.nanos += nanos;
  }
}
