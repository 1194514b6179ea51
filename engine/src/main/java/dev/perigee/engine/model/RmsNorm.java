package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.tensor.Tensor;

/** Root-mean-square normalisation with gains. */
final class RmsNorm {
  private final Backend backend;
  private final Weight gain_C;
  private final float epsilon;

  RmsNorm(Backend backend, Weight gain_C, double epsilon) {
    this.backend = backend;
    this.gain_C = gain_C;
    this.epsilon = (float) epsilon;
  }

  /**
   * The result with what backward needs.
   *
   * @param y_TC the normalised rows
   * @param x_TC the input
   * @param scale_T one over the root mean square of each row
   */
  record Output(Tensor y_TC, Tensor x_TC, Tensor scale_T) {}

  Output forward(Tensor x_TC) {
    Tensor y_TC = backend.arena().take(x_TC.dim(0), x_TC.dim(1));
    Tensor scale_T = backend.arena().take(x_TC.dim(0));
    backend.rmsNorm(x_TC, gain_C.value(), epsilon, y_TC, scale_T);
    return new Output(y_TC, x_TC, scale_T);
  }

  Tensor backwardInput(Output out, Tensor dy_TC) {
    Tensor dx_TC = backend.arena().take(dy_TC.dim(0), dy_TC.dim(1));
    backend.rmsNormBackwardInput(dy_TC, out.x_TC, gain_C.value(), out.scale_T, dx_TC, false);
    return dx_TC;
  }

  /** dx += the gradient of the input. */
  void backwardInputAdd(Output out, Tensor dy_TC, Tensor dx_TC) {
    backend.rmsNormBackwardInput(dy_TC, out.x_TC, gain_C.value(), out.scale_T, dx_TC, true);
  }

  void backwardWeight(Output out, Tensor dy_TC) {
    backend.rmsNormBackwardWeight(dy_TC, out.x_TC, out.scale_T, gain_C.gradient());
  }
}
