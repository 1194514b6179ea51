package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.tensor.Tensor;

/** y = x · wᵀ. Keeps nothing: callers hold what backward needs. */
final class Linear {
  private final Backend backend;
  private final Weight w_OI;

  Linear(Backend backend, Weight w_OI) {
    this.backend = backend;
    this.w_OI = w_OI;
  }

  Tensor weight() {
    return w_OI.value();
  }

  Tensor gradient() {
    return w_OI.gradient();
  }

  Tensor forward(Tensor x_TI) {
    Tensor y_TO = backend.arena().take(x_TI.dim(0), w_OI.value().dim(0));
    backend.linear(x_TI, w_OI.value(), y_TO);
    return y_TO;
  }

  /** The same in float32, whatever activations are. */
  Tensor forwardFloats(Tensor x_TI) {
    Tensor y_TO = backend.arena().takeFloats(x_TI.dim(0), w_OI.value().dim(0));
    backend.linear(x_TI, w_OI.value(), y_TO);
    return y_TO;
  }

  /** y += x · wᵀ. */
  void forwardAdd(Tensor x_TI, Tensor y_TO) {
    backend.matmul(1, x_TI, false, w_OI.value(), true, 1, y_TO);
  }

  Tensor backwardInput(Tensor dy_TO) {
    Tensor dx_TI = backend.arena().take(dy_TO.dim(0), w_OI.value().dim(1));
    backend.linearBackwardInput(dy_TO, w_OI.value(), dx_TI, false);
    return dx_TI;
  }

  /** dx += dy · w. */
  void backwardInputAdd(Tensor dy_TO, Tensor dx_TI) {
    backend.linearBackwardInput(dy_TO, w_OI.value(), dx_TI, true);
  }

  void backwardWeight(Tensor dy_TO, Tensor x_TI) {
    backend.linearBackwardWeight(dy_TO, x_TI, w_OI.gradient());
  }
}
