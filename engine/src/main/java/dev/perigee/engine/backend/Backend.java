package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import java.util.List;

/**
 * The operations a model is made of, each with its backward beside it. An instance belongs to one
 * rank's thread. Results are bitwise reproducible.
 *
 * <p>Legend: T token rows, S rows of (token, chosen expert), H hidden, I inputs, O outputs, E
 * experts, K chosen experts of a token, F width of a feed-forward part, V vocabulary, C any width.
 * Tensors are row-major; matrices of weights are [out, in]. An argument named {@code d…} is a
 * gradient. Outputs are written in full unless an operation says that it adds.
 *
 * <p>What says which rows an operation takes is {@link Indices}: the chosen experts and what
 * follows from them stay where the backend computes them.
 */
public interface Backend {

  // Memory.

  /** A new tensor of zeros that stays. */
  Tensor zeros(int... shape);

  /**
   * A new tensor of float32 zeros that stays, and that products multiply: a backend that rounds
   * their operands may keep a rounded copy.
   */
  default Tensor weights(int... shape) {
    return zeros(shape);
  }

  /** A new tensor of zeros that stays, of the type that activations have. */
  default Tensor activations(int... shape) {
    return zeros(shape);
  }

  /** Memory for activations, which a backend may round. */
  Arena arena();

  /**
   * Numbers of the host's where operations want them, until the arena's innermost region is
   * released.
   */
  default Indices indices(int... values) {
    return Indices.of(values);
  }

  /** 0, 1, … n − 1, until the arena's innermost region is released. */
  default Indices range(int n) {
    int[] values = new int[n];
    Arrays.setAll(values, i -> i);
    return Indices.of(values);
  }

  /**
   * Work of another thread that exchanges tensors with other ranks: there, it waits for what was
   * asked for before this call, and not for what is asked for after it.
   *
   * @param work to be run once
   */
  default Runnable fromHere(Runnable work) {
    return work;
  }

  /** A new slot for indices, which stays. */
  default Indices.Slot slot(int size) {
    return Indices.Slot.onHost(size);
  }

  /** A new sum, which stays and is zero. */
  Sum sum();

  /** New rates for updates, which stay. */
  Rates rates();

  /** Makes a routine of work that is done again and again. */
  default Routine routine(Runnable work) {
    return work::run;
  }

  /** Memory of the host for activations that are not needed for a while. */
  HostStore hostStore();

  /** x = value. */
  void fill(Tensor x, float value);

  /** to = from. */
  void copy(Tensor from, Tensor to);

  /** y += x. */
  void add(Tensor x, Tensor y);

  /** y = a · x + b · y; the two may be the same tensor. */
  void axpby(float a, Tensor x, float b, Tensor y);

  /** Σ x², added up in double precision. */
  double sumOfSquares(Tensor x);

  /** The sum over several tensors, which a device can add up while nobody waits. */
  default double sumOfSquares(List<Tensor> xs) {
    double sum = 0;
    for (Tensor x : xs) {
      sum += sumOfSquares(x);
    }
    return sum;
  }

  /**
   * One AdamW update of {@code weight} and of its state, all of one shape.
   *
   * @param mean decaying mean of gradients
   * @param square decaying mean of their squares
   */
  void adamW(
      AdamWRule rule, Rates rates, Tensor gradient, Tensor mean, Tensor square, Tensor weight);

  /**
   * One step of Muon for B matrices of one shape, if the backend has a kernel for it.
   *
   * @param momentum_BNM decaying sum of gradients
   * @return false when it has none and nothing has changed: products make it then
   */
  default boolean muon(
      MuonRule rule, Rates rates, Tensor gradient_BNM, Tensor momentum_BNM, Tensor weight_BNM) {
    return false;
  }

  /** Copies the columns of {@code x_TC} into {@code left} and {@code right}. */
  void splitColumns(Tensor x_TC, Tensor left, Tensor right);

  /** Copies {@code left} and {@code right} into the columns of {@code x_TC}. */
  void joinColumns(Tensor left, Tensor right, Tensor x_TC);

  /** y[s] = x[rows[s]]. */
  void gatherRows(Tensor x_TC, Indices rows, Tensor y_SC);

  /**
   * Packs rows as eight-bit numbers; see {@link Fp8}.
   *
   * @param packed_TP rows of {@link Fp8#packedWidth} words
   */
  default void packFp8(Tensor x_TC, Tensor packed_TP) {
    Tensor x = x_TC.onHost();
    Tensor packed = packed_TP.onHost();
    int c = x.dim(1);
    int p = packed.dim(1);
    for (int t = 0; t < x.dim(0); t++) {
      Fp8.pack(x.floats(), x.offset() + t * c, c, packed.floats(), packed.offset() + t * p);
    }
    packed_TP.assign(packed);
  }

  /** The way back of {@link #packFp8}: x is near what it was. */
  default void unpackFp8(Tensor packed_TP, Tensor x_TC) {
    Tensor packed = packed_TP.onHost();
    Tensor x = x_TC.onHost();
    int c = x.dim(1);
    int p = packed.dim(1);
    for (int t = 0; t < x.dim(0); t++) {
      Fp8.unpack(packed.floats(), packed.offset() + t * p, x.floats(), x.offset() + t * c, c);
    }
    x_TC.assign(x);
  }

  // Products.

  /** c = alpha · op(a) · op(b) + beta · c, where op transposes or not. */
  void matmul(
      float alpha,
      Tensor a,
      boolean transposeA,
      Tensor b,
      boolean transposeB,
      float beta,
      Tensor c);

  /** y = x · wᵀ. */
  default void linear(Tensor x_TI, Tensor w_OI, Tensor y_TO) {
    matmul(1, x_TI, false, w_OI, true, 0, y_TO);
  }

  /** dx = dy · w, or dx += dy · w. */
  default void linearBackwardInput(Tensor dy_TO, Tensor w_OI, Tensor dx_TI, boolean accumulate) {
    matmul(1, dy_TO, false, w_OI, false, accumulate ? 1 : 0, dx_TI);
  }

  /** dw += dyᵀ · x. */
  default void linearBackwardWeight(Tensor dy_TO, Tensor x_TI, Tensor dw_OI) {
    matmul(1, dy_TO, true, x_TI, false, 1, dw_OI);
  }

  /**
   * For each expert e: its rows of y = its rows of x · w[e]ᵀ; the rows of e are those from {@code
   * offsets_E1[e]} to {@code offsets_E1[e + 1]}.
   */
  default void groupedLinear(Tensor x_SI, Tensor w_EOI, Indices offsets_E1, Tensor y_SO) {
    int[] at = offsets_E1.onHost();
    for (int e = 0; e < w_EOI.dim(0); e++) {
      int rows = at[e + 1] - at[e];
      if (rows > 0) {
        linear(x_SI.slice(at[e], rows), matrix(w_EOI, e), y_SO.slice(at[e], rows));
      }
    }
  }

  /** For each expert e: its rows of dx = its rows of dy · w[e]. */
  default void groupedLinearBackwardInput(
      Tensor dy_SO, Tensor w_EOI, Indices offsets_E1, Tensor dx_SI) {
    int[] at = offsets_E1.onHost();
    for (int e = 0; e < w_EOI.dim(0); e++) {
      int rows = at[e + 1] - at[e];
      if (rows > 0) {
        linearBackwardInput(
            dy_SO.slice(at[e], rows), matrix(w_EOI, e), dx_SI.slice(at[e], rows), false);
      }
    }
  }

  /** For each expert e: dw[e] += its rows of dyᵀ · its rows of x. */
  default void groupedLinearBackwardWeight(
      Tensor dy_SO, Tensor x_SI, Indices offsets_E1, Tensor dw_EOI) {
    int[] at = offsets_E1.onHost();
    for (int e = 0; e < dw_EOI.dim(0); e++) {
      int rows = at[e + 1] - at[e];
      if (rows > 0) {
        linearBackwardWeight(dy_SO.slice(at[e], rows), x_SI.slice(at[e], rows), matrix(dw_EOI, e));
      }
    }
  }

  /** {@link #groupedLinear} into gate and up, and {@link #swiGlu} of them. */
  default void groupedSwiGlu(
      Tensor x_SI, Tensor w_EFFI, Indices offsets_E1, Tensor gu_SFF, Tensor h_SF) {
    groupedLinear(x_SI, w_EFFI, offsets_E1, gu_SFF);
    swiGlu(gu_SFF, h_SF);
  }

  private static Tensor matrix(Tensor w_EOI, int e) {
    return w_EOI.slice(e, 1).view(w_EOI.dim(1), w_EOI.dim(2));
  }

  // Layers.

  /** y[t] = w[ids[t]]. */
  void embedding(Indices ids, Tensor w_VH, Tensor y_TH);

  /** dw[ids[t]] += dy[t]. */
  void embeddingBackward(Indices ids, Tensor dy_TH, Tensor dw_VH);

  /**
   * y = x / √(mean(x²) + ε) · gain, row by row.
   *
   * @param scale_T receives 1 / √(mean(x²) + ε), which backward wants
   */
  void rmsNorm(Tensor x_TC, Tensor gain_C, float epsilon, Tensor y_TC, Tensor scale_T);

  /** dx = gradient of the input, or dx += it. */
  void rmsNormBackwardInput(
      Tensor dy_TC, Tensor x_TC, Tensor gain_C, Tensor scale_T, Tensor dx_TC, boolean accumulate);

  /** dgain += gradient of the gain. */
  void rmsNormBackwardWeight(Tensor dy_TC, Tensor x_TC, Tensor scale_T, Tensor dgain_C);

  /** h = silu(g) · u, where g and u are the halves of a row of {@code gu_TFF}. */
  void swiGlu(Tensor gu_TFF, Tensor h_TF);

  /** The gradient of {@link #swiGlu}. */
  void swiGluBackward(Tensor dh_TF, Tensor gu_TFF, Tensor dgu_TFF);

  /**
   * Rotates adjacent pairs of the last {@code 2 · cos.dim(1)} of every {@code width} columns of
   * {@code x_TC} by the angle of the row's position, in place.
   *
   * @param positions_T each row's position, a row of {@code cos_PR} and {@code sin_PR}
   * @param inverse rotates back, which is also the gradient
   */
  void rotate(
      Tensor x_TC, int width, Indices positions_T, Tensor cos_PR, Tensor sin_PR, boolean inverse);

  /** Float32 numbers that {@link #attention} leaves for its backward. */
  default int attentionMemory(AttentionShape shape) {
    return shape.probabilities();
  }

  /**
   * Causal multi-head latent attention; see {@link AttentionShape} for the letters. Query and key
   * of a head are [nope, rope]; the rope part of the key is one for all heads.
   *
   * @param q_TQ rows of H · (N + R), rotated
   * @param kv_TX rows of H · (N + V): each head's [key nope, value]
   * @param k_TR the rotated key that the heads share
   * @param out_TO receives rows of H · V
   * @param kept receives what backward wants, {@link #attentionMemory} numbers
   * @param maxLogit_H is raised to each head's largest logit over the allowed pairs
   */
  void attention(
      AttentionShape shape,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor kept,
      Tensor maxLogit_H);

  /** The gradients of {@link #attention}. */
  void attentionBackward(
      AttentionShape shape,
      Tensor dout_TO,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor kept,
      Tensor dq_TQ,
      Tensor dkv_TX,
      Tensor dk_TR);

  /**
   * One new token of each sequence attends to a cache of latents, with the key and value
   * projections absorbed: a head's logits are (q_nope · W_key, q_rope) · latent, its output is
   * (softmax · latents) · W_valueᵀ (DeepSeek-V2 report, section 2.1.2).
   *
   * @param shape of one token: its length is 1
   * @param q_BQ rows of H · (N + R), rotated
   * @param w_XL the projection from latents to each head's [key nope, value], H · (N + V) rows
   * @param cache_BPC for each position its latent (L) and rotated key (R); zeros, or any finite
   *     numbers, behind a sequence's last
   * @param lengths_B positions of each sequence, the new token's included
   * @param reach none of {@code lengths_B} is more
   * @param out_BO receives rows of H · V
   */
  void latentAttention(
      AttentionShape shape,
      Tensor q_BQ,
      Tensor w_XL,
      Tensor cache_BPC,
      Indices lengths_B,
      int reach,
      Tensor out_BO);

  /**
   * DeepSeek-V3's routing: scores s = sigmoid(logits); experts are chosen by s + bias, first the
   * groups with the largest sums of their two best, then the best experts in them; the weights come
   * from s alone. Equal scores choose the lower index.
   *
   * @param logits_TE is replaced by s
   * @param weight_TK receives the chosen experts' weights
   * @return the chosen experts, T · K, until the arena's innermost region is released; any of them
   *     where scores are not finite, unless the backend notices at once
   * @throws ArithmeticException when it notices at once
   */
  Indices route(RouterShape shape, Tensor logits_TE, Tensor bias_E, Tensor weight_TK);

  /** The gradient of {@link #route} for the logits, zero where an expert was not chosen. */
  void routeBackward(
      RouterShape shape, Tensor dweight_TK, Tensor s_TE, Indices chosen_TK, Tensor dlogits_TE);

  /** Sorts pairs of tokens and experts by expert; as long-lived as what {@link #route} returns. */
  default ExpertRows expertRows(Indices chosen_TK, int experts) {
    return ExpertRows.of(chosen_TK.onHost(), experts);
  }

  /** count[e] += rows of expert e; exact up to 2²⁴. */
  void countRows(Indices offsets_E1, Tensor count_E);

  /** y[slot[t, k]] = x[t]; the other rows of y stay. */
  void spreadRows(Tensor x_TC, Indices slot_TK, Tensor y_SC);

  /** y[t] += Σ_k weight[t, k] · x[slot[t, k]]; weights of one when {@code weight_TK} is null. */
  void combineRows(Tensor x_SC, Indices slot_TK, Tensor weight_TK, Tensor y_TC);

  /** dx[slot[t, k]] = weight[t, k] · dy[t]; dweight[t, k] = dy[t] · x[slot[t, k]]. */
  void combineRowsBackward(
      Tensor dy_TC,
      Tensor x_SC,
      Indices slot_TK,
      Tensor weight_TK,
      Tensor dx_SC,
      Tensor dweight_TK);

  /**
   * Cross-entropy of the softmax of each row against its target; a negative target is left out.
   *
   * @param logits_TV is replaced by gradScale · (softmax − one-hot)
   * @param loss is added the sum over the rows to, in nats
   */
  void crossEntropy(Tensor logits_TV, Indices targets_T, float gradScale, Sum loss);

  /**
   * Whether {@link #linearCrossEntropy} takes less memory or time here than the logits of all
   * tokens would.
   */
  default boolean fusesLoss(Tensor x_TH, Tensor w_VH) {
    return false;
  }

  /**
   * {@link #linear} to the vocabulary, {@link #crossEntropy}, and the gradients of both at once.
   *
   * @param dx_TH receives the gradient of the input
   * @param dw_VH is added the gradient of the weights to
   * @param loss is added the sum over the rows to, in nats
   */
  default void linearCrossEntropy(
      Tensor x_TH,
      Tensor w_VH,
      Indices targets_T,
      float gradScale,
      Tensor dx_TH,
      Tensor dw_VH,
      Sum loss) {
    try (Arena.Scope _ = arena().open()) {
      Tensor logits_TV = arena().takeFloats(x_TH.dim(0), w_VH.dim(0));
      linear(x_TH, w_VH, logits_TV);
      crossEntropy(logits_TV, targets_T, gradScale, loss);
      linearBackwardInput(logits_TV, w_VH, dx_TH, false);
      linearBackwardWeight(logits_TV, x_TH, dw_VH);
    }
  }
}
