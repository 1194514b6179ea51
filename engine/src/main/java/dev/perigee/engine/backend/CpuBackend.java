package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Storage;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;

/**
 * The operations on the CPU: matrix products through a {@link Gemm}, everything else in loops that
 * one can read. The oracle for every other backend.
 */
public final class CpuBackend implements Backend {
  private final Gemm gemm;
  private final Arena arena = new Arena(n -> new Storage.HostFloats(new float[n]));
  private final HostStore hostStore = new ArrayStore();
  private final VectorLoops loops = new VectorLoops();
  private final CpuAttention attention;
  private final float[][] scratch = {{}, {}, {}, {}};

  /** With the fastest product of this machine. */
  public CpuBackend() {
    this(Gemm.fastest());
  }

  /** With a product of the caller's choice. */
  public CpuBackend(Gemm gemm) {
    this.gemm = gemm;
    this.attention = new CpuAttention(gemm, loops);
  }

  @Override
  public Tensor zeros(int... shape) {
    return Tensor.zeros(shape);
  }

  @Override
  public Arena arena() {
    return arena;
  }

  @Override
  public Sum sum() {
    return new Sum.OnHost();
  }

  @Override
  public Rates rates() {
    return new Rates.OnHost();
  }

  @Override
  public HostStore hostStore() {
    return hostStore;
  }

  @Override
  public void fill(Tensor x, float value) {
    Arrays.fill(x.floats(), x.offset(), x.offset() + x.size(), value);
  }

  @Override
  public void copy(Tensor from, Tensor to) {
    same(from, to);
    System.arraycopy(from.floats(), from.offset(), to.floats(), to.offset(), from.size());
  }

  @Override
  public void add(Tensor x, Tensor y) {
    same(x, y);
    if (x.offset() == y.offset()) {
      VectorLoops.add(x.floats(), y.floats(), x.offset(), x.size());
    } else {
      VectorLoops.add(x.floats(), x.offset(), y.floats(), y.offset(), x.size());
    }
  }

  @Override
  public void axpby(float a, Tensor x, float b, Tensor y) {
    same(x, y);
    CpuUpdates.axpby(a, x, b, y);
  }

  @Override
  public double sumOfSquares(Tensor x) {
    return CpuUpdates.sumOfSquares(x);
  }

  @Override
  public void adamW(
      AdamWRule rule, Rates rates, Tensor gradient, Tensor mean, Tensor square, Tensor weight) {
    same(gradient, weight);
    same(mean, weight);
    same(square, weight);
    CpuUpdates.adamW(rule, ((Rates.OnHost) rates).get(), gradient, mean, square, weight);
  }

  @Override
  public void splitColumns(Tensor x_TC, Tensor left, Tensor right) {
    int a = left.dim(1);
    int b = right.dim(1);
    for (int t = 0; t < x_TC.dim(0); t++) {
      int row = x_TC.offset() + t * (a + b);
      System.arraycopy(x_TC.floats(), row, left.floats(), left.offset() + t * a, a);
      System.arraycopy(x_TC.floats(), row + a, right.floats(), right.offset() + t * b, b);
    }
  }

  @Override
  public void joinColumns(Tensor left, Tensor right, Tensor x_TC) {
    int a = left.dim(1);
    int b = right.dim(1);
    for (int t = 0; t < x_TC.dim(0); t++) {
      int row = x_TC.offset() + t * (a + b);
      System.arraycopy(left.floats(), left.offset() + t * a, x_TC.floats(), row, a);
      System.arraycopy(right.floats(), right.offset() + t * b, x_TC.floats(), row + a, b);
    }
  }

  @Override
  public void gatherRows(Tensor x_TC, Indices which, Tensor y_SC) {
    int[] rows = which.onHost();
    int c = x_TC.dim(1);
    for (int s = 0; s < rows.length; s++) {
      System.arraycopy(
          x_TC.floats(), x_TC.offset() + rows[s] * c, y_SC.floats(), y_SC.offset() + s * c, c);
    }
  }

  @Override
  public void matmul(
      float alpha,
      Tensor a,
      boolean transposeA,
      Tensor b,
      boolean transposeB,
      float beta,
      Tensor c) {
    int m = a.dim(transposeA ? 1 : 0);
    int k = a.dim(transposeA ? 0 : 1);
    int n = b.dim(transposeB ? 0 : 1);
    if (b.dim(transposeB ? 1 : 0) != k || c.dim(0) != m || c.dim(1) != n) {
      throw new IllegalArgumentException(
          "a product of %s%s and %s%s into %s"
              .formatted(a, transposeA ? "ᵀ" : "", b, transposeB ? "ᵀ" : "", c));
    }
    gemm.multiply(
        transposeA,
        transposeB,
        m,
        n,
        k,
        alpha,
        a.floats(),
        a.offset(),
        a.dim(1),
        b.floats(),
        b.offset(),
        b.dim(1),
        beta,
        c.floats(),
        c.offset(),
        c.dim(1));
  }

  @Override
  public void embedding(Indices ids, Tensor w_VH, Tensor y_TH) {
    Vocabulary.requireTokens(ids.onHost(), w_VH.dim(0));
    gatherRows(w_VH, ids, y_TH);
  }

  @Override
  public void embeddingBackward(Indices tokens, Tensor dy_TH, Tensor dw_VH) {
    int[] ids = tokens.onHost();
    int h = dw_VH.dim(1);
    for (int t = 0; t < ids.length; t++) {
      VectorLoops.add(
          dy_TH.floats(), dy_TH.offset() + t * h, dw_VH.floats(), dw_VH.offset() + ids[t] * h, h);
    }
  }

  @Override
  public void rmsNorm(Tensor x_TC, Tensor gain_C, float epsilon, Tensor y_TC, Tensor scale_T) {
    int c = x_TC.dim(1);
    float[] gain = row(0, gain_C, 0, c);
    for (int t = 0; t < x_TC.dim(0); t++) {
      float[] x = row(1, x_TC, t, c);
      float mean = VectorLoops.dot(x, 0, x, 0, c) / c;
      float scale = (float) (1 / Math.sqrt(mean + epsilon));
      scale_T.floats()[scale_T.offset() + t] = scale;
      VectorLoops.product(x, gain, scale, x, c);
      putRow(x, y_TC, t, c);
    }
  }

  @Override
  public void rmsNormBackwardInput(
      Tensor dy_TC, Tensor x_TC, Tensor gain_C, Tensor scale_T, Tensor dx_TC, boolean accumulate) {
    int c = x_TC.dim(1);
    float[] gain = row(0, gain_C, 0, c);
    for (int t = 0; t < x_TC.dim(0); t++) {
      float[] x = row(1, x_TC, t, c);
      float[] d = row(2, dy_TC, t, c);
      float scale = scale_T.floats()[scale_T.offset() + t];
      VectorLoops.product(d, gain, scale, d, c);
      // d/dx of x · scale(x): the second term is what the mean of squares contributes.
      float along = VectorLoops.dot(d, 0, x, 0, c) * scale * scale / c;
      VectorLoops.addScaled(x, -along, d, c);
      if (accumulate) {
        VectorLoops.addScaled(row(3, dx_TC, t, c), 1, d, c);
      }
      putRow(d, dx_TC, t, c);
    }
  }

  @Override
  public void rmsNormBackwardWeight(Tensor dy_TC, Tensor x_TC, Tensor scale_T, Tensor dgain_C) {
    int c = x_TC.dim(1);
    float[] dgain = row(0, dgain_C, 0, c);
    for (int t = 0; t < x_TC.dim(0); t++) {
      float scale = scale_T.floats()[scale_T.offset() + t];
      VectorLoops.addProduct(row(1, dy_TC, t, c), row(2, x_TC, t, c), scale, dgain, c);
    }
    putRow(dgain, dgain_C, 0, c);
  }

  @Override
  public void swiGlu(Tensor gu_TFF, Tensor h_TF) {
    int f = h_TF.dim(1);
    forParts(
        h_TF.dim(0),
        f,
        (first, rows, at, n) -> {
          float[] g = part(0, gu_TFF, first, rows, 2 * f, at, n);
          float[] u = part(1, gu_TFF, first, rows, 2 * f, f + at, n);
          float[] h = scratch(2, rows * n);
          loops.sigmoid(g, h, rows * n);
          for (int i = 0; i < rows * n; i++) {
            h[i] = h[i] * g[i] * u[i];
          }
          putPart(h, h_TF, first, rows, f, at, n);
        });
  }

  @Override
  public void swiGluBackward(Tensor dh_TF, Tensor gu_TFF, Tensor dgu_TFF) {
    int f = dh_TF.dim(1);
    forParts(
        dh_TF.dim(0),
        f,
        (first, rows, at, n) -> {
          float[] g = part(0, gu_TFF, first, rows, 2 * f, at, n);
          float[] u = part(1, gu_TFF, first, rows, 2 * f, f + at, n);
          float[] dh = part(2, dh_TF, first, rows, f, at, n);
          float[] s = scratch(3, rows * n);
          loops.sigmoid(g, s, rows * n);
          swiGluBackward(g, u, s, dh, rows * n);
          putPart(g, dgu_TFF, first, rows, 2 * f, at, n);
          putPart(u, dgu_TFF, first, rows, 2 * f, f + at, n);
        });
  }

  /** g and u become their gradients, where s = sigmoid(g). */
  private static void swiGluBackward(float[] g, float[] u, float[] s, float[] dh, int n) {
    for (int i = 0; i < n; i++) {
      float silu = g[i] * s[i];
      g[i] = dh[i] * u[i] * (s[i] + silu * (1 - s[i]));
      u[i] = dh[i] * silu;
    }
  }

  /** Work on columns at to at + n of some rows; rows · n is at most a chunk. */
  private interface Part {
    void apply(int first, int rows, int at, int n);
  }

  /** Cuts a matrix into parts of about a chunk: several short rows, or a piece of a long one. */
  private static void forParts(int rows, int width, Part part) {
    int together = Math.max(1, VectorLoops.CHUNK / width);
    for (int first = 0; first < rows; first += together) {
      for (int at = 0; at < width; at += VectorLoops.CHUNK) {
        part.apply(
            first, Math.min(together, rows - first), at, Math.min(VectorLoops.CHUNK, width - at));
      }
    }
  }

  private float[] scratch(int which, int n) {
    if (scratch[which].length < n) {
      scratch[which] = new float[n];
    }
    return scratch[which];
  }

  /** A copy of row t in a scratch array. */
  private float[] row(int which, Tensor x, int t, int width) {
    float[] row = scratch(which, width);
    System.arraycopy(x.floats(), x.offset() + t * width, row, 0, width);
    return row;
  }

  private static void putRow(float[] row, Tensor x, int t, int width) {
    System.arraycopy(row, 0, x.floats(), x.offset() + t * width, width);
  }

  /** A copy of n columns of some rows in a scratch array. */
  private float[] part(int which, Tensor x, int first, int rows, int width, int at, int n) {
    float[] part = scratch(which, rows * n);
    for (int t = 0; t < rows; t++) {
      System.arraycopy(x.floats(), x.offset() + (first + t) * width + at, part, t * n, n);
    }
    return part;
  }

  private static void putPart(
      float[] part, Tensor x, int first, int rows, int width, int at, int n) {
    for (int t = 0; t < rows; t++) {
      System.arraycopy(part, t * n, x.floats(), x.offset() + (first + t) * width + at, n);
    }
  }

  @Override
  public void rotate(
      Tensor x_TC, int width, Indices positions, Tensor cos_PR, Tensor sin_PR, boolean inverse) {
    int[] positions_T = positions.onHost();
    int c = x_TC.dim(1);
    int pairs = cos_PR.dim(1);
    float sign = inverse ? -1 : 1;
    float[] x = x_TC.floats();
    for (int t = 0; t < x_TC.dim(0); t++) {
      int angle = positions_T[t] * pairs;
      for (int end = width; end <= c; end += width) {
        int at = x_TC.offset() + t * c + end - 2 * pairs;
        for (int i = 0; i < pairs; i++) {
          float cos = cos_PR.floats()[cos_PR.offset() + angle + i];
          float sin = sign * sin_PR.floats()[sin_PR.offset() + angle + i];
          float a = x[at + 2 * i];
          float b = x[at + 2 * i + 1];
          x[at + 2 * i] = a * cos - b * sin;
          x[at + 2 * i + 1] = b * cos + a * sin;
        }
      }
    }
  }

  @Override
  public void attention(
      AttentionShape shape,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor kept,
      Tensor maxLogit_H) {
    attention.forward(shape, q_TQ, kv_TX, k_TR, out_TO, kept, maxLogit_H);
  }

  @Override
  public void attentionBackward(
      AttentionShape shape,
      Tensor dout_TO,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor kept,
      Tensor dq_TQ,
      Tensor dkv_TX,
      Tensor dk_TR) {
    attention.backward(shape, dout_TO, q_TQ, kv_TX, k_TR, out_TO, kept, dq_TQ, dkv_TX, dk_TR);
  }

  @Override
  public void latentAttention(
      AttentionShape shape,
      Tensor q_BQ,
      Tensor w_XL,
      Tensor cache_BPC,
      Indices lengths_B,
      int reach,
      Tensor out_BO) {
    attention.latent(shape, q_BQ, w_XL, cache_BPC, lengths_B.onHost(), out_BO);
  }

  @Override
  public Indices route(RouterShape shape, Tensor logits_TE, Tensor bias_E, Tensor weight_TK) {
    int[] chosen_TK = new int[logits_TE.dim(0) * shape.chosen()];
    int experts = shape.experts();
    forParts(
        logits_TE.dim(0),
        experts,
        (first, rows, at, n) -> {
          float[] s = scratch(1, rows * n);
          loops.sigmoid(part(0, logits_TE, first, rows, experts, at, n), s, rows * n);
          putPart(s, logits_TE, first, rows, experts, at, n);
        });
    CpuRouter.choose(shape, logits_TE, bias_E, chosen_TK, weight_TK);
    return Indices.of(chosen_TK);
  }

  @Override
  public void routeBackward(
      RouterShape shape, Tensor dweight_TK, Tensor s_TE, Indices chosen_TK, Tensor dlogits_TE) {
    CpuRouter.backward(shape, dweight_TK, s_TE, chosen_TK.onHost(), dlogits_TE);
  }

  @Override
  public void countRows(Indices offsets_E1, Tensor count_E) {
    int[] offsets = offsets_E1.onHost();
    for (int e = 0; e < count_E.size(); e++) {
      count_E.floats()[count_E.offset() + e] += offsets[e + 1] - offsets[e];
    }
  }

  @Override
  public void spreadRows(Tensor x_TC, Indices slot_TK, Tensor y_SC) {
    int[] slot = slot_TK.onHost();
    int c = x_TC.dim(1);
    int k = slot.length == 0 ? 0 : slot.length / x_TC.dim(0);
    for (int i = 0; i < slot.length; i++) {
      int from = x_TC.offset() + i / k * c;
      System.arraycopy(x_TC.floats(), from, y_SC.floats(), y_SC.offset() + slot[i] * c, c);
    }
  }

  @Override
  public void combineRows(Tensor x_SC, Indices slots, Tensor weight_TK, Tensor y_TC) {
    int[] slot_TK = slots.onHost();
    int c = y_TC.dim(1);
    for (int t = 0, i = 0; t < y_TC.dim(0); t++) {
      float[] y = row(0, y_TC, t, c);
      for (int end = (t + 1) * (slot_TK.length / y_TC.dim(0)); i < end; i++) {
        float weight = weight_TK == null ? 1 : weight_TK.floats()[weight_TK.offset() + i];
        VectorLoops.addScaled(row(1, x_SC, slot_TK[i], c), weight, y, c);
      }
      putRow(y, y_TC, t, c);
    }
  }

  @Override
  public void combineRowsBackward(
      Tensor dy_TC, Tensor x_SC, Indices slots, Tensor weight_TK, Tensor dx_SC, Tensor dweight_TK) {
    int[] slot_TK = slots.onHost();
    int c = dy_TC.dim(1);
    int k = dy_TC.dim(0) == 0 ? 0 : slot_TK.length / dy_TC.dim(0);
    for (int i = 0; i < slot_TK.length; i++) {
      int from = dy_TC.offset() + i / k * c;
      int slot = slot_TK[i] * c;
      dweight_TK.floats()[dweight_TK.offset() + i] =
          VectorLoops.dot(dy_TC.floats(), from, x_SC.floats(), x_SC.offset() + slot, c);
      float weight = weight_TK.floats()[weight_TK.offset() + i];
      int to = dx_SC.offset() + slot;
      System.arraycopy(dy_TC.floats(), from, dx_SC.floats(), to, c);
      VectorLoops.scale(dx_SC.floats(), to, c, weight);
    }
  }

  @Override
  public void crossEntropy(Tensor logits_TV, Indices targets, float gradScale, Sum loss) {
    int[] targets_T = targets.onHost();
    int v = logits_TV.dim(1);
    Vocabulary.requireTargets(targets_T, v);
    float[] x = logits_TV.floats();
    double total = 0;
    for (int t = 0; t < logits_TV.dim(0); t++) {
      int row = logits_TV.offset() + t * v;
      int target = targets_T[t];
      if (target < 0) {
        Arrays.fill(x, row, row + v, 0);
        continue;
      }
      float[] p = row(0, logits_TV, t, v);
      float max = VectorLoops.max(p, 0, v);
      float atTarget = p[target] - max;
      VectorLoops.shift(p, 0, v, -max);
      loops.exp(p, v);
      float sum = VectorLoops.sum(p, 0, v);
      total += Math.log(sum) - atTarget;
      VectorLoops.scale(p, 0, v, gradScale / sum);
      p[target] -= gradScale;
      putRow(p, logits_TV, t, v);
    }
    ((Sum.OnHost) loss).add(total);
  }

  private static void same(Tensor x, Tensor y) {
    if (x.size() != y.size()) {
      throw new IllegalArgumentException(x + " and " + y + " differ in size");
    }
  }
}
