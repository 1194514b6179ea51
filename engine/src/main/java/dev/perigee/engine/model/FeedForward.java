package dev.perigee.engine.model;

import dev.perigee.engine.backend.Saved;
import dev.perigee.engine.tensor.Tensor;

/**
 * The second half of a block: {@link DenseFfn} or {@link MoeLayer}. Either direction has a
 * beginning and an end; between them a mixture exchanges rows with other ranks, for which {@link
 * MoeLayer} has more to call.
 */
sealed interface FeedForward permits DenseFfn, MoeLayer {
  /** A result with what backward needs; each kind keeps its own. */
  interface Output {
    /** Rows of the hidden width, once {@link FeedForward#finish} has made them. */
    Tensor y_TH();
  }

  /** Begins to compute. */
  Output begin(Saved x_TH, Tokens tokens);

  /** Completes the output. */
  void finish(Output out);

  /** Everything at once; a mixture's ranks call it together. */
  default Output forward(Saved x_TH, Tokens tokens) {
    Output out = begin(x_TH, tokens);
    if (this instanceof MoeLayer moe) {
      moe.dispatch(out);
      moe.experts(out);
      moe.combine(out);
    }
    finish(out);
    return out;
  }

  /**
   * Begins to compute the input's gradient; {@code dy_TH} is to stay until the weights' are done.
   */
  void backwardBegin(Output out, Tensor dy_TH);

  /** The input's gradient; what {@link #backwardWeight} needs stays in {@code out}. */
  Tensor backwardFinish(Output out);

  /** Adds the weights' gradients, while the memory of both directions is still there. */
  void backwardWeight(Output out);
}
