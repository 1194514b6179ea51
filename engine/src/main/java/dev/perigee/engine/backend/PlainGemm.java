package dev.perigee.engine.backend;

import java.util.Arrays;

/** The matrix product in plain Java; the inner loop runs along rows, so that it is vectorised. */
final class PlainGemm {
  private PlainGemm() {}

  /** See {@link Gemm#multiply}. */
  static void multiply(
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
    float[] bRows_KN = transposeB ? transposed(b, bAt, ldb, n, k) : b;
    int rowsAt = transposeB ? 0 : bAt;
    int rowsLd = transposeB ? n : ldb;
    for (int i = 0; i < m; i++) {
      int row = cAt + i * ldc;
      if (beta == 0) {
        Arrays.fill(c, row, row + n, 0);
      } else if (beta != 1) {
        for (int j = 0; j < n; j++) {
          c[row + j] *= beta;
        }
      }
      for (int l = 0; l < k; l++) {
        float x = alpha * a[transposeA ? aAt + l * lda + i : aAt + i * lda + l];
        int from = rowsAt + l * rowsLd;
        for (int j = 0; j < n; j++) {
          c[row + j] += x * bRows_KN[from + j];
        }
      }
    }
  }

  private static float[] transposed(float[] b, int at, int ld, int rows, int columns) {
    float[] t = new float[rows * columns];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        t[j * rows + i] = b[at + i * ld + j];
      }
    }
    return t;
  }
}
