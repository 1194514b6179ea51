package dev.perigee.engine.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** Fast operations against plain twins in double precision. */
class CpuBackendTest {
  private final SplittableRandom random = new SplittableRandom(11);
  private final CpuBackend backend = new CpuBackend();

  @Test
  void theNativeProductIsThePlainOneForAllSizesAndTranspositions() {
    assumeTrue(Blas.available(), "skipped: no OpenBLAS on this platform");
    int[] sizes = {1, 2, 3, 7, 16, 33, 65};
    for (int trial = 0; trial < 200; trial++) {
      boolean ta = random.nextBoolean();
      boolean tb = random.nextBoolean();
      int m = sizes[random.nextInt(sizes.length)];
      int n = sizes[random.nextInt(sizes.length)];
      int k = sizes[random.nextInt(sizes.length)];
      int lda = (ta ? m : k) + random.nextInt(3);
      int ldb = (tb ? k : n) + random.nextInt(3);
      int ldc = n + random.nextInt(3);
      float beta = random.nextInt(3) * 0.5f;
      float[] a = floats(3 + (ta ? k : m) * lda);
      float[] b = floats(5 + (tb ? n : k) * ldb);
      float[] c = floats(2 + m * ldc);
      float[] d = c.clone();
      Gemm.fastest().multiply(ta, tb, m, n, k, 0.7f, a, 3, lda, b, 5, ldb, beta, c, 2, ldc);
      Gemm.plain().multiply(ta, tb, m, n, k, 0.7f, a, 3, lda, b, 5, ldb, beta, d, 2, ldc);
      assertThat(c).as("%d×%d×%d", m, n, k).containsExactly(d, within(1e-4f));
    }
  }

  @Test
  void theNativeProductDoesNotReadOrWriteOutsideItsArrays() {
    assumeTrue(Blas.available(), "skipped: no OpenBLAS on this platform");
    float[] four = new float[4];
    float[] three = new float[3];
    assertThatThrownBy(
            () -> Blas.multiply(false, false, 2, 2, 2, 1, four, 0, 2, four, 0, 2, 0, three, 0, 2))
        .isInstanceOf(IndexOutOfBoundsException.class)
        .hasMessage("c: 2 rows of 2 with stride 2 at 0 do not fit into 3 elements");
    assertThatThrownBy(
            () -> Blas.multiply(true, false, 2, 2, 2, 1, four, 1, 2, four, 0, 2, 0, four, 0, 2))
        .isInstanceOf(IndexOutOfBoundsException.class)
        .hasMessageStartingWith("a: ");
  }

  @Test
  void productsOfShapesThatDoNotFitAreRefused() {
    assertThatThrownBy(
            () -> backend.linear(Tensor.zeros(2, 3), Tensor.zeros(4, 5), Tensor.zeros(2, 4)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("Tensor[2, 3]");
  }

  @Test
  void exponentialsAreThoseOfDoublePrecision() {
    float[] x = new float[3001];
    for (int i = 0; i < x.length; i++) {
      x[i] = -87 + i * (175f / 3001);
    }
    float[] y = x.clone();
    new VectorLoops().exp(y, y.length);
    for (int i = 0; i < x.length; i++) {
      assertThat(y[i] / Math.exp(x[i])).as("e^%s", x[i]).isCloseTo(1, within(2e-7));
    }
    float[] extremes = {-1e30f, Float.NEGATIVE_INFINITY, 1e30f, Float.NaN};
    new VectorLoops().exp(extremes, extremes.length);
    assertThat(extremes[0]).isBetween(0f, 1e-37f);
    assertThat(extremes[1]).isBetween(0f, 1e-37f);
    assertThat(extremes[2]).isGreaterThan(1e38f);
    assertThat(extremes[3]).isNaN();
  }

  @Test
  void sumsAndMaximaOfAllLengthsAreThoseOfDoublePrecision() {
    for (int n = 0; n < 40; n++) {
      float[] x = floats(n + 2);
      double sum = 0;
      double dot = 0;
      double max = Double.NEGATIVE_INFINITY;
      for (int i = 2; i < n + 2; i++) {
        sum += x[i];
        dot += (double) x[i] * x[i];
        max = Math.max(max, x[i]);
      }
      assertThat(VectorLoops.sum(x, 2, n)).isCloseTo((float) sum, within(1e-5f));
      assertThat(VectorLoops.dot(x, 2, x, 2, n)).isCloseTo((float) dot, within(1e-5f));
      assertThat(VectorLoops.max(x, 2, n)).isEqualTo((float) max);
    }
  }

  @Test
  void attentionIsThatOfItsDefinition() {
    for (int length : new int[] {1, 5, 64, 65, 130}) {
      AttentionShape s = new AttentionShape(2, length, 3, 5, 4, 6, 0.3f);
      int t = 2 * length;
      Tensor q = tensor(t, 3 * 9);
      Tensor kv = tensor(t, 3 * 11);
      Tensor k = tensor(t, 4);
      Tensor out = Tensor.zeros(t, 3 * 6);
      float[] max = {-5, -5, 1e9f};
      backend.attention(s, q, kv, k, out, Tensor.zeros(s.probabilities()), Tensor.of(max, 3));
      double[] expectedMax = {-5, -5, 1e9};
      float[] expected = plainAttention(s, q, kv, k, expectedMax);
      assertThat(out.floats()).containsExactly(expected, within(1e-5f));
      for (int h = 0; h < 3; h++) {
        assertThat((double) max[h])
            .isCloseTo(expectedMax[h], within(1e-5 * Math.abs(expectedMax[h])));
      }
    }
  }

  private static float[] plainAttention(
      AttentionShape s, Tensor q, Tensor kv, Tensor k, double[] max) {
    float[] out = new float[s.batch() * s.length() * s.heads() * s.value()];
    int d = s.nope() + s.rope();
    int x = s.nope() + s.value();
    for (int b = 0; b < s.batch(); b++) {
      for (int h = 0; h < s.heads(); h++) {
        for (int i = 0; i < s.length(); i++) {
          double[] p = new double[i + 1];
          double sum = 0;
          for (int j = 0; j <= i; j++) {
            int qRow = ((b * s.length() + i) * s.heads() + h) * d;
            int kvRow = ((b * s.length() + j) * s.heads() + h) * x;
            double logit = 0;
            for (int n = 0; n < d; n++) {
              double key =
                  n < s.nope()
                      ? kv.floats()[kvRow + n]
                      : k.floats()[(b * s.length() + j) * s.rope() + n - s.nope()];
              logit += q.floats()[qRow + n] * key * s.scale();
            }
            max[h] = Math.max(max[h], logit);
            p[j] = Math.exp(logit);
            sum += p[j];
          }
          for (int v = 0; v < s.value(); v++) {
            double y = 0;
            for (int j = 0; j <= i; j++) {
              int kvRow = ((b * s.length() + j) * s.heads() + h) * x;
              y += p[j] / sum * kv.floats()[kvRow + s.nope() + v];
            }
            out[((b * s.length() + i) * s.heads() + h) * s.value() + v] = (float) y;
          }
        }
      }
    }
    return out;
  }

  @Test
  void swiGluOfLongAndShortRowsIsThatOfItsDefinition() {
    for (int width : new int[] {1, 7, 300, 1500}) {
      Tensor gu = tensor(9, 2 * width);
      Tensor h = Tensor.zeros(9, width);
      backend.swiGlu(gu, h);
      for (int t = 0; t < 9; t++) {
        for (int i = 0; i < width; i++) {
          double g = gu.floats()[t * 2 * width + i];
          double u = gu.floats()[t * 2 * width + width + i];
          assertThat((double) h.floats()[t * width + i])
              .isCloseTo(g / (1 + Math.exp(-g)) * u, within(1e-6));
        }
      }
    }
  }

  @Test
  void theRouterChoosesByBiasButWeighsWithout() {
    RouterShape shape = new RouterShape(4, 2, 1, 1, true, 3);
    Tensor logits = Tensor.of(new float[] {0, 1, 2, -1}, 1, 4);
    Tensor bias = Tensor.of(new float[] {0, 0, -5, 5}, 4);
    Tensor weight = Tensor.zeros(1, 2);
    int[] chosen = backend.route(shape, logits, bias, weight).onHost();
    assertThat(chosen).containsExactly(3, 1);
    double s3 = 1 / (1 + Math.exp(1));
    double s1 = 1 / (1 + Math.exp(-1));
    assertThat((double) weight.floats()[0]).isCloseTo(3 * s3 / (s1 + s3), within(1e-6));
    assertThat((double) weight.floats()[1]).isCloseTo(3 * s1 / (s1 + s3), within(1e-6));
  }

  @Test
  void theRouterKeepsToTheGroupsWithTheBestPairs() {
    // The best single expert is in group 0, but group 1 has the best two.
    RouterShape shape = new RouterShape(6, 2, 2, 1, false, 1);
    Tensor logits = Tensor.of(new float[] {3, -3, -3, 2, 2, 2}, 1, 6);
    int[] chosen = backend.route(shape, logits, Tensor.zeros(6), Tensor.zeros(1, 2)).onHost();
    assertThat(chosen).containsExactly(3, 4); // and equal scores choose the lower index
  }

  @Test
  void aRouterFedWithNaNSaysSo() {
    Tensor logits = Tensor.of(new float[] {Float.NaN, Float.NaN}, 1, 2);
    RouterShape shape = new RouterShape(2, 1, 1, 1, true, 1);
    assertThatThrownBy(() -> backend.route(shape, logits, Tensor.zeros(2), Tensor.zeros(1, 1)))
        .isInstanceOf(ArithmeticException.class)
        .hasMessageContaining("diverged");
  }

  @Test
  void crossEntropyLeavesOutNegativeTargets() {
    Tensor logits = Tensor.of(new float[] {1, 2, 3, 9, 9, 9}, 2, 3);
    Sum total = backend.sum();
    backend.crossEntropy(logits, Indices.of(0, -1), 2, total);
    double loss = total.value();
    double sum = Math.exp(1) + Math.exp(2) + Math.exp(3);
    assertThat(loss).isCloseTo(Math.log(sum) - 1, within(1e-6));
    float[] expected = {
      (float) (2 * (Math.exp(1) / sum - 1)),
      (float) (2 * Math.exp(2) / sum),
      (float) (2 * Math.exp(3) / sum),
      0,
      0,
      0
    };
    assertThat(logits.floats()).containsExactly(expected, within(1e-6f));
    assertThatThrownBy(() -> backend.crossEntropy(logits, Indices.of(3, 0), 1, backend.sum()))
        .hasMessage("target 3 is not in the vocabulary of 3");
  }

  @Test
  void tokensOutsideTheVocabularyAreRefused() {
    assertThatThrownBy(
            () -> backend.embedding(Indices.of(4), Tensor.zeros(4, 2), Tensor.zeros(1, 2)))
        .hasMessage("token 4 is not in the vocabulary of 4");
  }

  @Test
  void theArenaHandsOutMemoryAgainAndCountsIt() {
    Arena arena = backend.arena();
    Tensor first;
    try (Arena.Scope _ = arena.open()) {
      first = arena.take(1000);
      Tensor second = arena.take(1000);
      assertThat(second.floats()).isNotSameAs(first.floats());
    }
    assertThat(arena.currentBytes()).isZero();
    long reserved = arena.reservedBytes();
    try (Arena.Scope _ = arena.open()) {
      Tensor again = arena.take(10, 99); // nearly as large, so from the same pool
      arena.take(1000);
      assertThat(again.floats()).hasSameSizeAs(first.floats());
    }
    assertThat(arena.reservedBytes()).isEqualTo(reserved);
    assertThat(arena.peakBytes()).isEqualTo(reserved);
  }

  private Tensor tensor(int rows, int columns) {
    return Tensor.of(floats(rows * columns), rows, columns);
  }

  private float[] floats(int n) {
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) random.nextDouble(-2, 2);
    }
    return x;
  }
}
