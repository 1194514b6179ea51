package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;

/**
 * Rotary position embedding, stretched by YaRN (arXiv 2309.00071, section 3.2) when the model asks
 * for it: tables of angles, and the factor that YaRN puts on the softmax.
 */
final class Rotary {
  private final Backend backend;
  private final double[] frequencies;
  private final double magnitude;
  private final float softmaxScale;
  private Tensor cos_PR;
  private Tensor sin_PR;

  Rotary(ModelConfig config, Backend backend) {
    this.backend = backend;
    this.frequencies = frequencies(config);
    ModelConfig.Yarn yarn = config.ropeScaling();
    double scale = 1 / Math.sqrt(config.qkHeadDim());
    if (yarn == null) {
      magnitude = 1;
    } else {
      double all = mscale(yarn.factor(), yarn.mscaleAllDim());
      magnitude = mscale(yarn.factor(), yarn.mscale()) / all;
      scale *= all * all;
    }
    softmaxScale = (float) scale;
    cos_PR = backend.zeros(0, frequencies.length);
    sin_PR = cos_PR;
  }

  /** Radians per position of each pair. */
  static double[] frequencies(ModelConfig config) {
    int dim = config.qkRopeHeadDim();
    double[] frequencies = new double[dim / 2];
    ModelConfig.Yarn yarn = config.ropeScaling();
    double low = 0;
    double high = 0;
    if (yarn != null) {
      low = Math.max(0, Math.floor(pairThatTurns(yarn.betaFast(), config)));
      high = Math.min(dim - 1, Math.ceil(pairThatTurns(yarn.betaSlow(), config)));
      if (low == high) {
        high += 0.001; // as the reference: a step instead of a division by zero
      }
    }
    for (int i = 0; i < dim / 2; i++) {
      double kept = Math.pow(config.ropeTheta(), -2.0 * i / dim);
      if (yarn == null) {
        frequencies[i] = kept;
      } else {
        double stretched = Math.clamp((i - low) / (high - low), 0, 1);
        frequencies[i] = kept * (1 - stretched) + kept / yarn.factor() * stretched;
      }
    }
    return frequencies;
  }

  /** The pair, as a real number, that turns so many times within the original context. */
  private static double pairThatTurns(double rotations, ModelConfig config) {
    double context = config.ropeScaling().originalMaxPositionEmbeddings();
    return config.qkRopeHeadDim()
        * Math.log(context / (rotations * 2 * Math.PI))
        / (2 * Math.log(config.ropeTheta()));
  }

  private static double mscale(double factor, double weight) {
    return factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1;
  }

  /** The factor on q · k: 1/√d, times YaRN's mscale squared. */
  float softmaxScale() {
    return softmaxScale;
  }

  /** Makes the tables reach {@code positions} positions. */
  void reach(int positions) {
    if (cos_PR.dim(0) >= positions) {
      return;
    }
    int rows = Math.max(positions, 2 * cos_PR.dim(0));
    float[] cos = new float[rows * frequencies.length];
    float[] sin = new float[cos.length];
    for (int p = 0; p < rows; p++) {
      for (int i = 0; i < frequencies.length; i++) {
        // The reference multiplies in float32, and at long contexts that is what models learned.
        double angle = (float) p * (float) frequencies[i];
        int at = p * frequencies.length + i;
        cos[at] = (float) (Math.cos(angle) * magnitude);
        sin[at] = (float) (Math.sin(angle) * magnitude);
      }
    }
    cos_PR = backend.zeros(rows, frequencies.length);
    sin_PR = backend.zeros(rows, frequencies.length);
    cos_PR.assign(Tensor.of(cos, cos_PR.shape()));
    sin_PR.assign(Tensor.of(sin, sin_PR.shape()));
  }

  /** Rotates the last columns of every {@code width} columns, in place. */
  void apply(Tensor x_TC, int width, Indices positions_T) {
    backend.rotate(x_TC, width, positions_T, cos_PR, sin_PR, false);
  }

  /** The gradient of {@link #apply}, in place. */
  void applyBackward(Tensor dx_TC, int width, Indices positions_T) {
    backend.rotate(dx_TC, width, positions_T, cos_PR, sin_PR, true);
  }
}
