package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;

/** x += attention(norm(x)); x += feed-forward(norm(x)). */
final class Block {
  private final Backend backend;
  private final RmsNorm attentionNorm;
  private final MlaAttention attention;
  private final RmsNorm ffnNorm;
  private final FeedForward ffn;

  Block(
      int layer,
      ModelConfig c,
      Rotary rotary,
      Backend backend,
      Collectives expertGroup,
      ParameterStore store) {
    this.backend = backend;
    String prefix = "model.layers." + layer;
    int h = c.hiddenSize();
    attentionNorm =
        new RmsNorm(backend, store.gains(prefix + ".input_layernorm.weight", h), c.rmsNormEps());
    attention = new MlaAttention(prefix + ".self_attn", c, rotary, backend, store);
    ffnNorm =
        new RmsNorm(
            backend, store.gains(prefix + ".post_attention_layernorm.weight", h), c.rmsNormEps());
    ffn =
        c.isMoeLayer(layer)
            ? new MoeLayer(prefix + ".mlp", c, backend, expertGroup, store)
            : new DenseFfn(prefix + ".mlp", h, c.intermediateSize(), backend, store);
  }

  MlaAttention attention() {
    return attention;
  }

  FeedForward feedForward() {
    return ffn;
  }

  /** What a forward pass leaves for the backward one. */
  record Pass(
      RmsNorm.Output normed_TH,
      MlaAttention.Pass attended,
      RmsNorm.Output middle_TH,
      FeedForward.Output fed,
      Tensor y_TH) {}

  Pass forward(Tensor x_TH, Tokens tokens) {
    RmsNorm.Output normed_TH = attentionNorm.forward(x_TH);
    MlaAttention.Pass attended = attention.forward(normed_TH.y_TC(), tokens);
    backend.add(x_TH, attended.y_TH());
    RmsNorm.Output middle_TH = ffnNorm.forward(attended.y_TH());
    FeedForward.Output fed = ffn.forward(middle_TH.y_TC(), tokens);
    backend.add(attended.y_TH(), fed.y_TH());
    return new Pass(normed_TH, attended, middle_TH, fed, fed.y_TH());
  }

  /** Adds the weights' gradients and replaces the output's gradient by the input's. */
  void backward(Pass pass, Tensor d_TH) {
    try (Arena.Scope _ = backend.arena().open()) {
      Tensor dnormed_TH = ffn.backwardInput(pass.fed, d_TH);
      ffn.backwardWeight(pass.fed);
      ffnNorm.backwardWeight(pass.middle_TH, dnormed_TH);
      ffnNorm.backwardInputAdd(pass.middle_TH, dnormed_TH, d_TH);
    }
    try (Arena.Scope _ = backend.arena().open()) {
      Tensor dnormed_TH = attention.backwardInput(pass.attended, d_TH);
      attention.backwardWeight(pass.attended);
      attentionNorm.backwardWeight(pass.normed_TH, dnormed_TH);
      attentionNorm.backwardInputAdd(pass.normed_TH, dnormed_TH, d_TH);
    }
  }

  /** One token of each sequence; see {@link MlaAttention#step}. */
  Tensor step(Tensor x_BH, Tokens tokens, Tensor cache_BPC) {
    Tensor middle_BH = attention.step(attentionNorm.forward(x_BH).y_TC(), tokens, cache_BPC);
    backend.add(x_BH, middle_BH);
    Tensor y_BH = ffn.forward(ffnNorm.forward(middle_BH).y_TC(), tokens).y_TH();
    backend.add(middle_BH, y_BH);
    return y_BH;
  }
}
