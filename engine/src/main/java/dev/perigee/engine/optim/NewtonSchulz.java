package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.tensor.Tensor;
import java.util.List;

/**
 * Replaces a matrix by one with the same singular vectors and singular values near 1, by a fixed
 * number of steps of an odd quintic iteration ("Muon is scalable for LLM training", section 2.1;
 * Keller Jordan's Muon). It does not converge to 1: with the published coefficients, values settle
 * between about 0.7 and 1.2, which is as good for training and takes fewer steps.
 *
 * <p>Legend: N rows, M columns, K = min(N, M).
 */
final class NewtonSchulz {
  /** Keeps the zero matrix zero. */
  private static final double EPSILON = 1e-7;

  private final Backend backend;
  private final int steps;
  private final float a;
  private final float b;
  private final float c;

  /** Working memory, as large as the largest matrix so far has wanted. */
  private Tensor next;

  private Tensor gram;
  private Tensor polynomial;

  /**
   * An iteration.
   *
   * @param coefficients (a, b, c) of {@code aX + b(XXᵀ)X + c(XXᵀ)²X}
   */
  NewtonSchulz(Backend backend, int steps, List<Double> coefficients) {
    this.backend = backend;
    this.steps = steps;
    this.a = coefficients.get(0).floatValue();
    this.b = coefficients.get(1).floatValue();
    this.c = coefficients.get(2).floatValue();
    reserve(1, 1);
  }

  /** Replaces {@code x_NM} by its orthogonalisation. */
  void orthogonalize(Tensor x_NM) {
    int n = x_NM.dim(0);
    int m = x_NM.dim(1);
    int k = Math.min(n, m);
    reserve(n * m, k * k);
    // The small side's Gram matrix: XXᵀ for a wide X, XᵀX for a tall one, which is the same
    // iteration on the transpose.
    boolean tall = n > m;
    Tensor gram_KK = new Tensor(gram.storage(), 0, k, k);
    Tensor polynomial_KK = new Tensor(polynomial.storage(), 0, k, k);
    Tensor from = x_NM;
    Tensor to = new Tensor(next.storage(), 0, n, m);
    double norm = Math.sqrt(backend.sumOfSquares(x_NM));
    backend.axpby(0, x_NM, (float) (1 / (norm + EPSILON)), x_NM);
    for (int step = 0; step < steps; step++) {
      backend.matmul(1, from, tall, from, !tall, 0, gram_KK);
      backend.copy(gram_KK, polynomial_KK);
      backend.matmul(c, gram_KK, false, gram_KK, false, b, polynomial_KK);
      backend.copy(from, to);
      if (tall) {
        backend.matmul(1, from, false, polynomial_KK, false, a, to);
      } else {
        backend.matmul(1, polynomial_KK, false, from, false, a, to);
      }
      Tensor swap = from;
      from = to;
      to = swap;
    }
    if (steps % 2 == 1) {
      backend.copy(from, x_NM);
    }
  }

  private void reserve(int matrix, int square) {
    if (next == null || next.size() < matrix) {
      next = backend.zeros(matrix);
    }
    if (gram == null || gram.size() < square) {
      gram = backend.zeros(square);
      polynomial = backend.zeros(square);
    }
  }
}
