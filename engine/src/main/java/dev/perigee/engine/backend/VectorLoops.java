package dev.perigee.engine.backend;

/**
 * Loops over float arrays, written so that the compiler turns them into vector instructions. It
 * does so only when the body is short and without branches, and when all arrays are indexed alike:
 * it cannot rule out that {@code x[at + i]} and {@code y[i]} are one array. So callers copy rows to
 * scratch arrays, where everything starts at 0; copying costs a fraction of what vectors save. Sums
 * run in eight independent strands whose order is fixed.
 */
final class VectorLoops {
  /** Elements that {@link #exp} takes at a time; enough to hide a loop's start and end. */
  static final int CHUNK = 1024;

  private static final float LOWEST = -87; // e^x is a normal number from here ...
  private static final float HIGHEST = 88; // ... to here
  private static final float LOG2_E = 1.442695f;
  private static final float ROUND = 12_582_912; // 1.5 · 2^23: adding it rounds to a whole number
  // ln 2 in two parts; products of the first with whole numbers up to 2^9 are exact.
  private static final float LN2_HIGH = 355f / 512;
  private static final float LN2_LOW = -0.00021219444f;

  private final float[] exponent = new float[CHUNK];
  private final float[] power = new float[CHUNK];

  /**
   * x = e^x, to a relative error of 2e-7 between −87 and 88, where it saturates. In three passes
   * because the compiler does not unroll, and so not vectorise, one large body.
   */
  void exp(float[] x, int at, int n) {
    for (int from = at, end = at + n; from < end; from += CHUNK) {
      int count = Math.min(CHUNK, end - from);
      System.arraycopy(x, from, exponent, 0, count);
      exp(exponent, power, count);
      System.arraycopy(exponent, 0, x, from, count);
    }
  }

  /** x = e^x for the first n, with scratch of the same length. */
  private static void exp(float[] x, float[] power, int n) {
    powersOfTwo(x, power, n);
    fractions(x, power, n);
    scaleByPowers(x, power, n);
  }

  private static void powersOfTwo(float[] x, float[] power, int n) {
    for (int i = 0; i < n; i++) {
      x[i] = Math.min(HIGHEST, Math.max(LOWEST, x[i]));
      power[i] = (x[i] * LOG2_E + ROUND) - ROUND;
    }
  }

  /** e^r for |r| ≤ ln 2 / 2 by the polynomial of Cephes' expf. */
  private static void fractions(float[] x, float[] power, int n) {
    for (int i = 0; i < n; i++) {
      float r = (x[i] - power[i] * LN2_HIGH) - power[i] * LN2_LOW;
      float p = 0.00019875691f;
      p = p * r + 0.0013981999f;
      p = p * r + 0.008333452f;
      p = p * r + 0.041665796f;
      p = p * r + 0.16666666f;
      p = p * r + 0.5f;
      x[i] = p * r * r + r + 1;
    }
  }

  private static void scaleByPowers(float[] x, float[] power, int n) {
    for (int i = 0; i < n; i++) {
      x[i] *= Float.intBitsToFloat(((int) power[i] + 127) << 23);
    }
  }

  /** s = 1 / (1 + e^−x) for the first n ≤ {@link #CHUNK}. */
  void sigmoid(float[] x, float[] s, int n) {
    for (int i = 0; i < n; i++) {
      s[i] = -x[i];
    }
    exp(s, power, n);
    for (int i = 0; i < n; i++) {
      s[i] = 1 / (1 + s[i]);
    }
  }

  /** Σ x. */
  static float sum(float[] x, int at, int n) {
    float a = 0;
    float b = 0;
    float c = 0;
    float d = 0;
    float e = 0;
    float f = 0;
    float g = 0;
    float h = 0;
    int i = at;
    for (int end = at + n - 7; i < end; i += 8) {
      a += x[i];
      b += x[i + 1];
      c += x[i + 2];
      d += x[i + 3];
      e += x[i + 4];
      f += x[i + 5];
      g += x[i + 6];
      h += x[i + 7];
    }
    for (; i < at + n; i++) {
      a += x[i];
    }
    return ((a + b) + (c + d)) + ((e + f) + (g + h));
  }

  /** Σ x · y. */
  static float dot(float[] x, int xAt, float[] y, int yAt, int n) {
    float a = 0;
    float b = 0;
    float c = 0;
    float d = 0;
    float e = 0;
    float f = 0;
    float g = 0;
    float h = 0;
    int i = 0;
    for (; i < n - 7; i += 8) {
      a += x[xAt + i] * y[yAt + i];
      b += x[xAt + i + 1] * y[yAt + i + 1];
      c += x[xAt + i + 2] * y[yAt + i + 2];
      d += x[xAt + i + 3] * y[yAt + i + 3];
      e += x[xAt + i + 4] * y[yAt + i + 4];
      f += x[xAt + i + 5] * y[yAt + i + 5];
      g += x[xAt + i + 6] * y[yAt + i + 6];
      h += x[xAt + i + 7] * y[yAt + i + 7];
    }
    for (; i < n; i++) {
      a += x[xAt + i] * y[yAt + i];
    }
    return ((a + b) + (c + d)) + ((e + f) + (g + h));
  }

  /** The largest x, −∞ for none. */
  static float max(float[] x, int at, int n) {
    float a = Float.NEGATIVE_INFINITY;
    float b = a;
    float c = a;
    float d = a;
    int i = at;
    for (int end = at + n - 3; i < end; i += 4) {
      a = x[i] > a ? x[i] : a;
      b = x[i + 1] > b ? x[i + 1] : b;
      c = x[i + 2] > c ? x[i + 2] : c;
      d = x[i + 3] > d ? x[i + 3] : d;
    }
    for (; i < at + n; i++) {
      a = x[i] > a ? x[i] : a;
    }
    return Math.max(Math.max(a, b), Math.max(c, d));
  }

  /** x = x · factor. */
  static void scale(float[] x, int at, int n, float factor) {
    for (int i = at; i < at + n; i++) {
      x[i] *= factor;
    }
  }

  /** x = x + value. */
  static void shift(float[] x, int at, int n, float value) {
    for (int i = at; i < at + n; i++) {
      x[i] += value;
    }
  }

  /** y += factor · x for the first n. */
  static void addScaled(float[] x, float factor, float[] y, int n) {
    for (int i = 0; i < n; i++) {
      y[i] += factor * x[i];
    }
  }

  /** y += x from {@code at} on in both. */
  static void add(float[] x, float[] y, int at, int n) {
    for (int i = at; i < at + n; i++) {
      y[i] += x[i];
    }
  }

  /** y += x, element by element from anywhere to anywhere; not vectorised. */
  static void add(float[] x, int xAt, float[] y, int yAt, int n) {
    for (int i = 0; i < n; i++) {
      y[yAt + i] += x[xAt + i];
    }
  }

  /** z = factor · x · y for the first n. */
  static void product(float[] x, float[] y, float factor, float[] z, int n) {
    for (int i = 0; i < n; i++) {
      z[i] = factor * x[i] * y[i];
    }
  }

  /** z += factor · x · y for the first n. */
  static void addProduct(float[] x, float[] y, float factor, float[] z, int n) {
    for (int i = 0; i < n; i++) {
      z[i] += factor * x[i] * y[i];
    }
  }

  /** dp = p · (dp − mean) · scale from {@code at} on in both. */
  static void softmaxBackward(float[] p, float[] dp, int at, int n, float mean, float scale) {
    for (int i = at; i < at + n; i++) {
      dp[i] = p[i] * (dp[i] - mean) * scale;
    }
  }
}
