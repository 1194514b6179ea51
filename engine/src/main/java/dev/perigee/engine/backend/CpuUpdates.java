package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Tensor;

/** The optimizer's loops on the CPU. */
final class CpuUpdates {
  private CpuUpdates() {}

  static void axpby(float a, Tensor x, float b, Tensor y) {
    axpby(a, x.floats(), x.offset(), b, y.floats(), y.offset(), y.size());
  }

  private static void axpby(float a, float[] x, int xAt, float b, float[] y, int yAt, int n) {
    for (int i = 0; i < n; i++) {
      y[yAt + i] = a * x[xAt + i] + b * y[yAt + i];
    }
  }

  /** In four independent strands of fixed order, so that additions do not wait for each other. */
  static double sumOfSquares(Tensor x_) {
    float[] x = x_.floats();
    double s0 = 0;
    double s1 = 0;
    double s2 = 0;
    double s3 = 0;
    int end = x_.offset() + x_.size();
    int i = x_.offset();
    for (; i + 3 < end; i += 4) {
      s0 += (double) x[i] * x[i];
      s1 += (double) x[i + 1] * x[i + 1];
      s2 += (double) x[i + 2] * x[i + 2];
      s3 += (double) x[i + 3] * x[i + 3];
    }
    for (; i < end; i++) {
      s0 += (double) x[i] * x[i];
    }
    return s0 + s1 + (s2 + s3);
  }

  static void adamW(
      AdamWRule rule,
      Rates.Values rates,
      Tensor gradient,
      Tensor mean,
      Tensor square,
      Tensor weight) {
    float[] g = gradient.floats();
    float[] m = mean.floats();
    float[] v = square.floats();
    float[] w = weight.floats();
    int gAt = gradient.offset();
    int mAt = mean.offset();
    int vAt = square.offset();
    int wAt = weight.offset();
    float gradientScale = (float) rates.gradientScale();
    float beta1 = rule.beta1();
    float beta2 = rule.beta2();
    float rate = rates.meanRate();
    float correction = rates.rootCorrection();
    float epsilon = rule.epsilon();
    float keep = rates.keep(rule.weightDecay());
    for (int i = 0, n = weight.size(); i < n; i++) {
      float scaled = g[gAt + i] * gradientScale;
      float first = beta1 * m[mAt + i] + (1 - beta1) * scaled;
      float second = beta2 * v[vAt + i] + (1 - beta2) * scaled * scaled;
      m[mAt + i] = first;
      v[vAt + i] = second;
      float root = (float) Math.sqrt(second) * correction;
      w[wAt + i] = keep * w[wAt + i] - rate * first / (root + epsilon);
    }
  }
}
