package dev.perigee.engine.model;

import dev.perigee.engine.tensor.Tensor;

/** The second half of a block: {@link DenseFfn} or {@link MoeLayer}. */
sealed interface FeedForward permits DenseFfn, MoeLayer {
  /** A result with what backward needs; each kind keeps its own. */
  interface Output {
    /** Rows of the hidden width. */
    Tensor y_TH();
  }

  /** Computes; a mixture's ranks call it together. */
  Output forward(Tensor x_TH, Tokens tokens);

  /** The input's gradient; what {@link #backwardWeight} needs stays in {@code out}. */
  Tensor backwardInput(Output out, Tensor dy_TH);

  /** Adds the weights' gradients, after {@link #backwardInput} and in the same arena scope. */
  void backwardWeight(Output out);
}
