package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunConfig.Memory.Recompute;

/** x += attention(norm(x)); x += feed-forward(norm(x)). */
final class Block {
  private final Backend backend;
  private final boolean forgetsNorms;
  private final RmsNorm attentionNorm;
  private final MlaAttention attention;
  private final RmsNorm ffnNorm;
  private final FeedForward ffn;

  Block(
      int layer,
      ModelConfig c,
      RunConfig.Memory memory,
      Rotary rotary,
      Backend backend,
      Collectives expertGroup,
      ParameterStore store) {
    this.backend = backend;
    this.forgetsNorms = memory.recompute().contains(Recompute.norms);
    String prefix = "model.layers." + layer;
    int h = c.hiddenSize();
    attentionNorm =
        new RmsNorm(backend, store.gains(prefix + ".input_layernorm.weight", h), c.rmsNormEps());
    attention = new MlaAttention(prefix + ".self_attn", c, memory, rotary, backend, store);
    ffnNorm =
        new RmsNorm(
            backend, store.gains(prefix + ".post_attention_layernorm.weight", h), c.rmsNormEps());
    ffn =
        c.isMoeLayer(layer)
            ? new MoeLayer(prefix + ".mlp", c, memory, backend, expertGroup, store)
            : new DenseFfn(prefix + ".mlp", h, c.intermediateSize(), memory, backend, store);
  }

  MlaAttention attention() {
    return attention;
  }

  /** What a forward pass leaves, and then a backward one. */
  static final class Pass {
    private final RmsNorm.Output normed_TH;
    private final MlaAttention.Pass attended;
    private final RmsNorm.Output middle_TH;
    private final FeedForward.Output fed;
    private Tensor dmiddle_TH;
    private Tensor dnormed_TH;

    /** Memory of the backward pass over the feed-forward part. */
    private Arena.Region backwardMemory;

    private Pass(
        RmsNorm.Output normed_TH,
        MlaAttention.Pass attended,
        RmsNorm.Output middle_TH,
        FeedForward.Output fed) {
      this.normed_TH = normed_TH;
      this.attended = attended;
      this.middle_TH = middle_TH;
      this.fed = fed;
    }

    /** The mixture's part of the pass. */
    FeedForward.Output fed() {
      return fed;
    }
  }

  /** The mixture of experts, null when the feed-forward part is dense. */
  MoeLayer mixture() {
    return ffn instanceof MoeLayer moe ? moe : null;
  }

  /** Computes up to where a mixture's rows leave. */
  Pass begin(Tensor x_TH, Tokens tokens) {
    RmsNorm.Output normed_TH = attentionNorm.forward(x_TH);
    MlaAttention.Pass attended = attention.forward(normed_TH.y_TC(), tokens);
    if (forgetsNorms) {
      attentionNorm.forget(normed_TH);
    }
    backend.add(x_TH, attended.y_TH());
    RmsNorm.Output middle_TH = ffnNorm.forward(attended.y_TH());
    return new Pass(normed_TH, attended, middle_TH, ffn.begin(middle_TH.y_TC(), tokens));
  }

  /** Computes from where a mixture's rows are back; returns the block's output. */
  Tensor finish(Pass pass) {
    ffn.finish(pass.fed);
    if (forgetsNorms) {
      ffnNorm.forget(pass.middle_TH);
    }
    backend.add(pass.attended.y_TH(), pass.fed.y_TH());
    return pass.fed.y_TH();
  }

  /** All of {@link #begin} to {@link #finish}; a mixture's ranks call it together. */
  Tensor forward(Tensor x_TH, Tokens tokens) {
    RmsNorm.Output normed_TH = attentionNorm.forward(x_TH);
    Tensor middle_TH = attention.forward(normed_TH.y_TC(), tokens).y_TH();
    backend.add(x_TH, middle_TH);
    Tensor y_TH = ffn.forward(ffnNorm.forward(middle_TH).y_TC(), tokens).y_TH();
    backend.add(middle_TH, y_TH);
    return y_TH;
  }

  /**
   * When a backward pass computes the gradients of weights.
   *
   * <p>{@link #NOW} gives memory back half by half; {@link #LATER} keeps what the weights need in
   * the region that memory is taken from.
   */
  enum Weights {
    NOW,
    LATER
  }

  /** Begins to go back, up to where the gradients of a mixture's rows leave. */
  void backwardBegin(Pass pass, Tensor d_TH, Weights weights) {
    pass.backwardMemory =
        weights == Weights.NOW ? backend.arena().region() : backend.arena().innermost();
    try (Arena.Scope _ = pass.backwardMemory.enter()) {
      ffn.backwardBegin(pass.fed, d_TH);
    }
  }

  /** Goes back over this rank's experts. */
  void backwardExperts(Pass pass) {
    try (Arena.Scope _ = pass.backwardMemory.enter()) {
      mixture().expertsBackward(pass.fed);
    }
  }

  /**
   * Goes back from where the gradients of a mixture's rows are back.
   *
   * @param d_TH the gradient of the output, which {@link Weights#NOW} overwrites
   * @return the gradient of the input
   */
  Tensor backwardFinish(Pass pass, Tensor d_TH, Weights weights) {
    boolean now = weights == Weights.NOW;
    Tensor dattended_TH = now ? d_TH : copy(d_TH);
    try (Arena.Scope _ = pass.backwardMemory.enter()) {
      pass.dmiddle_TH = ffn.backwardFinish(pass.fed);
      if (now) {
        if (mixture() != null) {
          backwardExpertsWeight(pass);
        }
        feedForwardWeights(pass);
      }
      ffnNorm.backwardInputAdd(pass.middle_TH, pass.dmiddle_TH, dattended_TH);
    }
    if (now) {
      pass.backwardMemory.release();
    }
    Tensor dx_TH = now ? dattended_TH : copy(dattended_TH);
    Arena.Region memory = now ? backend.arena().region() : backend.arena().innermost();
    try (Arena.Scope _ = memory.enter()) {
      pass.dnormed_TH = attention.backwardInput(pass.attended, dattended_TH);
      if (now) {
        attentionWeights(pass);
      }
      attentionNorm.backwardInputAdd(pass.normed_TH, pass.dnormed_TH, dx_TH);
    }
    if (now) {
      memory.release();
    }
    return dx_TH;
  }

  /** Adds the gradients of the experts' weights, after {@link #backwardExperts}. */
  void backwardExpertsWeight(Pass pass) {
    mixture().expertsBackwardWeight(pass.fed);
  }

  /** Adds those of all others after a backward pass that left them for {@link Weights#LATER}. */
  void backwardWeight(Pass pass) {
    feedForwardWeights(pass);
    attentionWeights(pass);
  }

  private void feedForwardWeights(Pass pass) {
    ffn.backwardWeight(pass.fed);
    ffnNorm.backwardWeight(pass.middle_TH, pass.dmiddle_TH);
  }

  private void attentionWeights(Pass pass) {
    attention.backwardWeight(pass.attended);
    attentionNorm.backwardWeight(pass.normed_TH, pass.dnormed_TH);
  }

  private Tensor copy(Tensor x_TH) {
    Tensor copy_TH = backend.arena().take(x_TH.dim(0), x_TH.dim(1));
    backend.copy(x_TH, copy_TH);
    return copy_TH;
  }

  /** One token of each sequence; see {@link MlaAttention#step}. */
  Tensor step(Tensor x_BH, LatentCache cache, int layer) {
    Tensor middle_BH = attention.step(attentionNorm.forward(x_BH).y(), cache, layer);
    backend.add(x_BH, middle_BH);
    Tensor y_BH = ffn.forward(ffnNorm.forward(middle_BH).y_TC(), cache.tokens()).y_TH();
    backend.add(middle_BH, y_BH);
    return y_BH;
  }
}
