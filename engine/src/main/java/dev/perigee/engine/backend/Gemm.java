package dev.perigee.engine.backend;

/** A product of row-major matrices that may be parts of larger ones. */
@FunctionalInterface
public interface Gemm {
  /**
   * c = alpha · op(a) · op(b) + beta · c with op(a) [m, k], op(b) [k, n] and c [m, n]; {@code c} is
   * not read when beta is 0.
   *
   * @param transposeA whether {@code a} holds [k, m]
   * @param transposeB whether {@code b} holds [n, k]
   * @param aAt index of the first element
   * @param lda elements from one row as stored to the next
   */
  void multiply(
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
      int ldc);

  /** OpenBLAS on one thread, or plain Java where it has no natives. */
  static Gemm fastest() {
    return Blas.available() ? Blas::multiply : PlainGemm::multiply;
  }

  /** Plain Java: the twin that the fast one is compared with. */
  static Gemm plain() {
    return PlainGemm::multiply;
  }
}
