package dev.perigee.engine.cuda;

/**
 * Products of row-major matrices on the device: {@link Cublas} where it is installed, else {@link
 * TiledProduct}, its plain twin.
 */
interface Product extends AutoCloseable {
  /**
   * Sizes of {@code count} products c [m, n] = op(a) [m, k] · op(b) [k, n].
   *
   * @param transposeA whether {@code a} holds [k, m]
   * @param transposeB whether {@code b} holds [n, k]
   */
  record Sizes(boolean transposeA, boolean transposeB, int m, int n, int k, int count) {
    @Override
    public String toString() {
      return "%d products of %d x %d%s and %d x %d%s"
          .formatted(
              count,
              m,
              k,
              transposeA ? ", stored transposed," : "",
              k,
              n,
              transposeB ? ", stored transposed" : "");
    }
  }

  /**
   * Matrices of float32 or bf16, which may be parts of larger ones.
   *
   * @param address of the first element
   * @param rowStride elements from one row as stored to the next
   * @param stride elements from one matrix to the next
   */
  record Operand(long address, boolean bf16, int rowStride, long stride) {
    /** The same matrices {@code elements} further on. */
    Operand from(long elements) {
      return new Operand(address + elements * (bf16 ? 2 : 4), bf16, rowStride, stride);
    }
  }

  /**
   * c = alpha · op(a) · op(b) + beta · c; {@code c} is not read when beta is 0.
   *
   * @param a of the same type as {@code b}
   * @param c float32, or bf16 when {@code a} and {@code b} are
   */
  void multiply(Sizes sizes, float alpha, Operand a, Operand b, float beta, Operand c);

  @Override
  void close();
}
