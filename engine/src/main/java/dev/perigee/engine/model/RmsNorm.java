package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Saved;
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
  record Output(Saved y_TC, Saved x_TC, Tensor scale_T) {
    /** The normalised rows. */
    Tensor y() {
      return y_TC.get();
    }
  }

  Output forward(Tensor x_TC) {
    Tensor scale_T = backend.arena().takeFloats(x_TC.dim(0));
    Tensor y_TC = normalised(x_TC, scale_T);
    Arena.Region memory = backend.arena().innermost();
    return new Output(memory.save(y_TC), memory.save(x_TC), scale_T);
  }

  private Tensor normalised(Tensor x_TC, Tensor scale_T) {
    Tensor y_TC = backend.arena().take(x_TC.dim(0), x_TC.dim(1));
    backend.rmsNorm(x_TC, gain_C.value(), epsilon, y_TC, scale_T);
    return y_TC;
  }

  /** Gives the result's memory back; who needs it afterwards has it computed again. */
  void forget(Output out) {
    out.y_TC.drop(() -> normalised(out.x_TC.get(), out.scale_T));
  }

  Tensor backwardInput(Output out, Tensor dy_TC) {
    Tensor dx_TC = backend.arena().take(dy_TC.dim(0), dy_TC.dim(1));
    backend.rmsNormBackwardInput(dy_TC, out.x_TC.get(), gain_C.value(), out.scale_T, dx_TC, false);
    return dx_TC;
  }

  /** dx += the gradient of the input. */
  void backwardInputAdd(Output out, Tensor dy_TC, Tensor dx_TC) {
    backend.rmsNormBackwardInput(dy_TC, out.x_TC.get(), gain_C.value(), out.scale_T, dx_TC, true);
  }

  void backwardWeight(Output out, Tensor dy_TC) {
    backend.rmsNormBackwardWeight(dy_TC, out.x_TC.get(), out.scale_T, gain_C.gradient());
  }
}
