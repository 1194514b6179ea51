package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Saved;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunConfig.Memory.Recompute;

/**
 * Multi-head latent attention (DeepSeek-V2 report, section 2.1). Queries come through a low-rank
 * projection or a full one, keys and values from a latent that is all a cache has to keep.
 *
 * <p>T tokens, H hidden; A query rank, L latent rank, R rotary width; Q = heads · (nope + rope), X
 * = heads · (nope + value), O = heads · value.
 */
final class MlaAttention {
  private final ModelConfig config;
  private final RunConfig.Memory memory;
  private final Backend backend;
  private final Rotary rotary;
  private final Linear qA; // null when queries are not low-rank
  private final RmsNorm qNorm;
  private final Linear qB;
  private final Linear kvA;
  private final RmsNorm kvNorm;
  private final Linear kvB;
  private final Linear output;
  private final Tensor maxLogit_H;

  /** Where the largest logits of passes go that are not recorded. */
  private final Tensor unrecorded_H;

  MlaAttention(
      String prefix,
      ModelConfig c,
      RunConfig.Memory memory,
      Rotary rotary,
      Backend backend,
      ParameterStore store) {
    this.config = c;
    this.memory = memory;
    this.backend = backend;
    this.rotary = rotary;
    int h = c.hiddenSize();
    int q = c.numAttentionHeads() * c.qkHeadDim();
    if (c.qLoraRank() > 0) {
      int a = c.qLoraRank();
      qA = new Linear(backend, store.matrix(prefix + ".q_a_proj.weight", a, h));
      qNorm =
          new RmsNorm(backend, store.gains(prefix + ".q_a_layernorm.weight", a), c.rmsNormEps());
      qB = new Linear(backend, store.matrix(prefix + ".q_b_proj.weight", q, a));
    } else {
      qA = null;
      qNorm = null;
      qB = new Linear(backend, store.matrix(prefix + ".q_proj.weight", q, h));
    }
    int l = c.kvLoraRank();
    int x = c.numAttentionHeads() * (c.qkNopeHeadDim() + c.vHeadDim());
    int o = c.numAttentionHeads() * c.vHeadDim();
    kvA =
        new Linear(
            backend, store.matrix(prefix + ".kv_a_proj_with_mqa.weight", l + c.qkRopeHeadDim(), h));
    kvNorm =
        new RmsNorm(backend, store.gains(prefix + ".kv_a_layernorm.weight", l), c.rmsNormEps());
    kvB = new Linear(backend, store.matrix(prefix + ".kv_b_proj.weight", x, l));
    output = new Linear(backend, store.matrix(prefix + ".o_proj.weight", h, o));
    maxLogit_H = backend.zeros(c.numAttentionHeads());
    unrecorded_H = backend.zeros(c.numAttentionHeads());
    resetMaxLogit();
  }

  /** The largest logit of each head since the last reset, −∞ when there was none. */
  float[] maxLogit() {
    return maxLogit_H.onHost().floats().clone();
  }

  void resetMaxLogit() {
    backend.fill(maxLogit_H, Float.NEGATIVE_INFINITY);
  }

  /** What a forward pass leaves, and then a backward one. */
  static final class Pass {
    private final Tokens tokens;
    private final Saved x_TH;
    private final RmsNorm.Output qn_TA;
    private final Saved q_TQ;
    private final RmsNorm.Output cn_TL;
    private final Saved k_TR;
    private final Saved kv_TX;
    private final Saved kept;
    private final Saved o_TO;
    private final Tensor y_TH;
    private Tensor dy_TH;
    private Tensor dqn_TA;
    private Tensor dqa_TA;
    private Tensor dq_TQ;
    private Tensor dkv_TX;
    private Tensor dcn_TL;
    private Tensor dkva_TC;

    private Pass(
        Tokens tokens,
        Saved x_TH,
        RmsNorm.Output qn_TA,
        Saved q_TQ,
        RmsNorm.Output cn_TL,
        Saved k_TR,
        Saved kv_TX,
        Saved kept,
        Saved o_TO,
        Tensor y_TH) {
      this.tokens = tokens;
      this.x_TH = x_TH;
      this.qn_TA = qn_TA;
      this.q_TQ = q_TQ;
      this.cn_TL = cn_TL;
      this.k_TR = k_TR;
      this.kv_TX = kv_TX;
      this.kept = kept;
      this.o_TO = o_TO;
      this.y_TH = y_TH;
    }

    Tensor y_TH() {
      return y_TH;
    }
  }

  Pass forward(Saved x_TH, Tokens tokens) {
    Arena.Region region = backend.arena().innermost();
    int t = x_TH.dim(0);
    RmsNorm.Output qn_TA = qA == null ? null : qNorm.forward(qA.forward(x_TH.get()));
    Saved latent_TC = qn_TA == null ? x_TH : qn_TA.y_TC();
    Saved q_TQ = region.save(queries(latent_TC.get(), tokens));
    Tensor c_TL = backend.arena().take(t, config.kvLoraRank());
    Tensor k_TR = backend.arena().take(t, config.qkRopeHeadDim());
    backend.splitColumns(kvA.forward(x_TH.get()), c_TL, k_TR);
    rotary.apply(k_TR, config.qkRopeHeadDim(), tokens.positions());
    RmsNorm.Output cn_TL = kvNorm.forward(c_TL);
    Saved kv_TX = region.save(kvB.forward(cn_TL.y()));
    AttentionShape shape = shape(tokens);
    Tensor o_TO = backend.arena().take(t, config.numAttentionHeads() * config.vHeadDim());
    Tensor kept = backend.arena().takeFloats(backend.attentionMemory(shape));
    Tensor recorded_H = tokens.recording() ? maxLogit_H : unrecorded_H;
    backend.attention(shape, q_TQ.get(), kv_TX.get(), k_TR, o_TO, kept, recorded_H);
    if (memory.recompute().contains(Recompute.latentProjections)) {
      q_TQ.drop(() -> queries(latent_TC.get(), tokens));
      kv_TX.drop(() -> kvB.forward(cn_TL.y()));
    }
    if (memory.recompute().contains(Recompute.norms)) {
      kvNorm.forget(cn_TL);
      if (qn_TA != null) {
        qNorm.forget(qn_TA);
      }
    }
    Tensor y_TH = output.forward(o_TO);
    return new Pass(
        tokens,
        x_TH,
        qn_TA,
        q_TQ,
        cn_TL,
        region.save(k_TR),
        kv_TX,
        region.save(kept),
        region.save(o_TO),
        y_TH);
  }

  private Tensor queries(Tensor latent_TC, Tokens tokens) {
    Tensor q_TQ = qB.forward(latent_TC);
    rotary.apply(q_TQ, config.qkHeadDim(), tokens.positions());
    return q_TQ;
  }

  Tensor backwardInput(Pass p, Tensor dy_TH) {
    int t = dy_TH.dim(0);
    p.dy_TH = dy_TH;
    Tensor do_TO = output.backwardInput(dy_TH);
    p.dq_TQ = backend.arena().take(t, p.q_TQ.dim(1));
    p.dkv_TX = backend.arena().take(t, p.kv_TX.dim(1));
    Tensor dk_TR = backend.arena().take(t, config.qkRopeHeadDim());
    backend.attentionBackward(
        shape(p.tokens),
        do_TO,
        p.q_TQ.get(),
        p.kv_TX.get(),
        p.k_TR.get(),
        p.o_TO.get(),
        p.kept.get(),
        p.dq_TQ,
        p.dkv_TX,
        dk_TR);
    rotary.applyBackward(p.dq_TQ, config.qkHeadDim(), p.tokens.positions());
    rotary.applyBackward(dk_TR, config.qkRopeHeadDim(), p.tokens.positions());
    p.dcn_TL = kvB.backwardInput(p.dkv_TX);
    Tensor dc_TL = kvNorm.backwardInput(p.cn_TL, p.dcn_TL);
    p.dkva_TC = backend.arena().take(t, config.kvLoraRank() + config.qkRopeHeadDim());
    backend.joinColumns(dc_TL, dk_TR, p.dkva_TC);
    Tensor dx_TH = kvA.backwardInput(p.dkva_TC);
    if (qA == null) {
      qB.backwardInputAdd(p.dq_TQ, dx_TH);
    } else {
      p.dqn_TA = qB.backwardInput(p.dq_TQ);
      p.dqa_TA = qNorm.backwardInput(p.qn_TA, p.dqn_TA);
      qA.backwardInputAdd(p.dqa_TA, dx_TH);
    }
    return dx_TH;
  }

  /** Adds the weights' gradients, after {@link #backwardInput} and in the same arena scope. */
  void backwardWeight(Pass p) {
    output.backwardWeight(p.dy_TH, p.o_TO.get());
    kvB.backwardWeight(p.dkv_TX, p.cn_TL.y());
    kvNorm.backwardWeight(p.cn_TL, p.dcn_TL);
    kvA.backwardWeight(p.dkva_TC, p.x_TH.get());
    if (qA == null) {
      qB.backwardWeight(p.dq_TQ, p.x_TH.get());
    } else {
      qB.backwardWeight(p.dq_TQ, p.qn_TA.y());
      qNorm.backwardWeight(p.qn_TA, p.dqn_TA);
      qA.backwardWeight(p.dqa_TA, p.x_TH.get());
    }
  }

  /**
   * One token of each sequence, with the latents of those before it in a cache.
   *
   * @param cache receives this token's latent and rotated key, for layer {@code layer} of the rank
   */
  Tensor step(Tensor x_BH, LatentCache cache, int layer) {
    int b = x_BH.dim(0);
    Tokens tokens = cache.tokens();
    Tensor q_BQ = qB.forward(qA == null ? x_BH : qNorm.forward(qA.forward(x_BH)).y());
    rotary.apply(q_BQ, config.qkHeadDim(), tokens.positions());
    Tensor c_BL = backend.arena().take(b, config.kvLoraRank());
    Tensor k_BR = backend.arena().take(b, config.qkRopeHeadDim());
    Tensor latent_BC = kvA.forward(x_BH);
    backend.splitColumns(latent_BC, c_BL, k_BR);
    rotary.apply(k_BR, config.qkRopeHeadDim(), tokens.positions());
    backend.joinColumns(kvNorm.forward(c_BL).y(), k_BR, latent_BC);
    Tensor cache_BPC = cache.layer_BPC(layer);
    Tensor rows_SC = cache_BPC.view(b * cache_BPC.dim(1), cache_BPC.dim(2));
    backend.spreadRows(latent_BC, cache.rows(), rows_SC);
    Tensor o_BO = backend.arena().take(b, config.numAttentionHeads() * config.vHeadDim());
    backend.latentAttention(
        shape(tokens), q_BQ, kvB.weight(), cache_BPC, cache.lengths(), cache.reach(), o_BO);
    return output.forward(o_BO);
  }

  private AttentionShape shape(Tokens tokens) {
    return new AttentionShape(
        tokens.batch(),
        tokens.length(),
        config.numAttentionHeads(),
        config.qkNopeHeadDim(),
        config.qkRopeHeadDim(),
        config.vHeadDim(),
        rotary.softmaxScale());
  }
}
