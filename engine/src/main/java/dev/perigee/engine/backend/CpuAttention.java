package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;

/**
 * Multi-head latent attention on the CPU. Letters as in {@link AttentionShape}; D = N + R is the
 * width of a head's query and key, Q = H · D, X = H · (N + V), O = H · V.
 *
 * <p>Queries go in blocks of rows; a block sees the keys up to its own last row only, which leaves
 * out most of the masked half. The probabilities of block {@code first} of one head are a dense
 * [rows, first + rows] at {@code first · T} of the head's T · T.
 */
final class CpuAttention {
  private static final int BLOCK = 64;

  private final Gemm gemm;
  private final VectorLoops loops;
  private float[] k_TD = {};
  private float[] dk_TD = {};
  private float[] packed = {};
  private float[] p_Block = {};
  private float[] dp_Block = {};
  private float[] absorbed_HC = {};

  CpuAttention(Gemm gemm, VectorLoops loops) {
    this.gemm = gemm;
    this.loops = loops;
  }

  /** See {@link Backend#attention}. */
  void forward(
      AttentionShape s,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor p_BHTT,
      Tensor maxLogit_H) {
    int t = s.length();
    int d = s.nope() + s.rope();
    int q = s.heads() * d;
    int x = s.heads() * (s.nope() + s.value());
    int o = s.heads() * s.value();
    float[] p = p_BHTT.floats();
    for (int b = 0; b < s.batch(); b++) {
      for (int h = 0; h < s.heads(); h++) {
        joinKey(s, kv_TX, k_TR, b, h);
        int qAt = q_TQ.offset() + b * t * q + h * d;
        int vAt = kv_TX.offset() + b * t * x + h * (s.nope() + s.value()) + s.nope();
        int oAt = out_TO.offset() + b * t * o + h * s.value();
        for (int first = 0; first < t; first += BLOCK) {
          int rows = Math.min(BLOCK, t - first);
          int seen = first + rows;
          int pAt = p_BHTT.offset() + ((b * s.heads() + h) * t + first) * t;
          gemm.multiply(
              false,
              true,
              rows,
              seen,
              d,
              s.scale(),
              q_TQ.floats(),
              qAt + first * q,
              q,
              k_TD,
              0,
              d,
              0,
              p,
              pAt,
              seen);
          float max = causalSoftmax(p, pAt, first, rows);
          int mostAt = maxLogit_H.offset() + h;
          maxLogit_H.floats()[mostAt] = Math.max(maxLogit_H.floats()[mostAt], max);
          gemm.multiply(
              false,
              false,
              rows,
              s.value(),
              seen,
              1,
              p,
              pAt,
              seen,
              kv_TX.floats(),
              vAt,
              x,
              0,
              out_TO.floats(),
              oAt + first * o,
              o);
        }
      }
    }
  }

  /** Softmax over the allowed part of each row, zero in the rest; returns the largest logit. */
  private float causalSoftmax(float[] p, int at, int first, int rows) {
    int seen = first + rows;
    packed = atLeast(packed, rows * seen);
    float largest = Float.NEGATIVE_INFINITY;
    int n = 0;
    for (int i = 0; i < rows; i++) {
      int allowed = first + i + 1;
      System.arraycopy(p, at + i * seen, packed, n, allowed);
      float max = VectorLoops.max(packed, n, allowed);
      largest = Math.max(largest, max);
      VectorLoops.shift(packed, n, allowed, -max);
      n += allowed;
    }
    loops.exp(packed, n);
    n = 0;
    for (int i = 0; i < rows; i++) {
      int row = at + i * seen;
      int allowed = first + i + 1;
      VectorLoops.scale(packed, n, allowed, 1 / VectorLoops.sum(packed, n, allowed));
      System.arraycopy(packed, n, p, row, allowed);
      Arrays.fill(p, row + allowed, row + seen, 0);
      n += allowed;
    }
    return largest;
  }

  /** See {@link Backend#attentionBackward}. */
  void backward(
      AttentionShape s,
      Tensor dout_TO,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor p_BHTT,
      Tensor dq_TQ,
      Tensor dkv_TX,
      Tensor dk_TR) {
    int t = s.length();
    int d = s.nope() + s.rope();
    int q = s.heads() * d;
    int x = s.heads() * (s.nope() + s.value());
    int o = s.heads() * s.value();
    float[] p = p_BHTT.floats();
    dk_TD = atLeast(dk_TD, t * d);
    p_Block = atLeast(p_Block, Math.min(BLOCK, t) * t);
    dp_Block = atLeast(dp_Block, Math.min(BLOCK, t) * t);
    for (int b = 0; b < s.batch(); b++) {
      for (int h = 0; h < s.heads(); h++) {
        joinKey(s, kv_TX, k_TR, b, h);
        int qAt = b * t * q + h * d;
        int vAt = b * t * x + h * (s.nope() + s.value()) + s.nope();
        int oAt = b * t * o + h * s.value();
        // The last block sees every key, so it overwrites the sums that the others add to.
        for (int first = (t - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK) {
          int rows = Math.min(BLOCK, t - first);
          int seen = first + rows;
          float beta = seen == t ? 0 : 1;
          int pAt = p_BHTT.offset() + ((b * s.heads() + h) * t + first) * t;
          int doAt = dout_TO.offset() + oAt + first * o;
          gemm.multiply(
              true,
              false,
              seen,
              s.value(),
              rows,
              1,
              p,
              pAt,
              seen,
              dout_TO.floats(),
              doAt,
              o,
              beta,
              dkv_TX.floats(),
              dkv_TX.offset() + vAt,
              x);
          gemm.multiply(
              false,
              true,
              rows,
              seen,
              s.value(),
              1,
              dout_TO.floats(),
              doAt,
              o,
              kv_TX.floats(),
              kv_TX.offset() + vAt,
              x,
              0,
              dp_Block,
              0,
              seen);
          System.arraycopy(p, pAt, p_Block, 0, rows * seen);
          for (int i = 0; i < rows; i++) {
            float mean =
                VectorLoops.dot(
                    dout_TO.floats(),
                    doAt + i * o,
                    out_TO.floats(),
                    out_TO.offset() + oAt + (first + i) * o,
                    s.value());
            int allowed = first + i + 1;
            VectorLoops.softmaxBackward(p_Block, dp_Block, i * seen, allowed, mean, s.scale());
            Arrays.fill(dp_Block, i * seen + allowed, (i + 1) * seen, 0);
          }
          gemm.multiply(
              false,
              false,
              rows,
              d,
              seen,
              1,
              dp_Block,
              0,
              seen,
              k_TD,
              0,
              d,
              0,
              dq_TQ.floats(),
              dq_TQ.offset() + qAt + first * q,
              q);
          gemm.multiply(
              true,
              false,
              seen,
              d,
              rows,
              1,
              dp_Block,
              0,
              seen,
              q_TQ.floats(),
              q_TQ.offset() + qAt + first * q,
              q,
              beta,
              dk_TD,
              0,
              d);
        }
        splitKeyGradient(s, dkv_TX, dk_TR, b, h);
      }
    }
  }

  /** One head's keys in one piece: products over strided parts would be two thin ones. */
  private void joinKey(AttentionShape s, Tensor kv_TX, Tensor k_TR, int b, int h) {
    int d = s.nope() + s.rope();
    int x = s.heads() * (s.nope() + s.value());
    k_TD = atLeast(k_TD, s.length() * d);
    for (int j = 0; j < s.length(); j++) {
      int row = b * s.length() + j;
      int from = kv_TX.offset() + row * x + h * (s.nope() + s.value());
      System.arraycopy(kv_TX.floats(), from, k_TD, j * d, s.nope());
      System.arraycopy(
          k_TR.floats(), k_TR.offset() + row * s.rope(), k_TD, j * d + s.nope(), s.rope());
    }
  }

  private void splitKeyGradient(AttentionShape s, Tensor dkv_TX, Tensor dk_TR, int b, int h) {
    int d = s.nope() + s.rope();
    int x = s.heads() * (s.nope() + s.value());
    for (int j = 0; j < s.length(); j++) {
      int row = b * s.length() + j;
      int to = dkv_TX.offset() + row * x + h * (s.nope() + s.value());
      System.arraycopy(dk_TD, j * d, dkv_TX.floats(), to, s.nope());
      int shared = dk_TR.offset() + row * s.rope();
      if (h == 0) {
        System.arraycopy(dk_TD, j * d + s.nope(), dk_TR.floats(), shared, s.rope());
      } else {
        VectorLoops.add(dk_TD, j * d + s.nope(), dk_TR.floats(), shared, s.rope());
      }
    }
  }

  /** See {@link Backend#latentAttention}. */
  void latent(
      AttentionShape s,
      Tensor q_BQ,
      Tensor w_XL,
      Tensor cache_BPC,
      int[] lengths_B,
      Tensor out_BO) {
    int rank = w_XL.dim(1);
    int c = rank + s.rope();
    int d = s.nope() + s.rope();
    int headRows = s.nope() + s.value();
    int positions = cache_BPC.dim(1);
    absorbed_HC = atLeast(absorbed_HC, s.batch() * s.heads() * c);
    int q = s.heads() * d;
    int o = s.heads() * s.value();
    int ld = s.heads() * c;
    for (int h = 0; h < s.heads(); h++) {
      gemm.multiply(
          false,
          false,
          s.batch(),
          rank,
          s.nope(),
          1,
          q_BQ.floats(),
          q_BQ.offset() + h * d,
          q,
          w_XL.floats(),
          w_XL.offset() + h * headRows * rank,
          rank,
          0,
          absorbed_HC,
          h * c,
          ld);
      for (int b = 0; b < s.batch(); b++) {
        System.arraycopy(
            q_BQ.floats(),
            q_BQ.offset() + b * q + h * d + s.nope(),
            absorbed_HC,
            b * ld + h * c + rank,
            s.rope());
      }
    }
    for (int b = 0; b < s.batch(); b++) {
      int filled = lengths_B[b];
      dp_Block = atLeast(dp_Block, s.heads() * filled);
      int cacheAt = cache_BPC.offset() + b * positions * c;
      gemm.multiply(
          false,
          true,
          s.heads(),
          filled,
          c,
          s.scale(),
          absorbed_HC,
          b * ld,
          c,
          cache_BPC.floats(),
          cacheAt,
          c,
          0,
          dp_Block,
          0,
          filled);
      for (int h = 0; h < s.heads(); h++) {
        VectorLoops.shift(
            dp_Block, h * filled, filled, -VectorLoops.max(dp_Block, h * filled, filled));
      }
      loops.exp(dp_Block, s.heads() * filled);
      for (int h = 0; h < s.heads(); h++) {
        float sum = VectorLoops.sum(dp_Block, h * filled, filled);
        VectorLoops.scale(dp_Block, h * filled, filled, 1 / sum);
      }
      // The absorbed query of this sequence is spent; the mixed latents take its place.
      gemm.multiply(
          false,
          false,
          s.heads(),
          rank,
          filled,
          1,
          dp_Block,
          0,
          filled,
          cache_BPC.floats(),
          cacheAt,
          c,
          0,
          absorbed_HC,
          b * ld,
          c);
    }
    for (int h = 0; h < s.heads(); h++) {
      gemm.multiply(
          false,
          true,
          s.batch(),
          s.value(),
          rank,
          1,
          absorbed_HC,
          h * c,
          ld,
          w_XL.floats(),
          w_XL.offset() + (h * headRows + s.nope()) * rank,
          rank,
          0,
          out_BO.floats(),
          out_BO.offset() + h * s.value(),
          o);
    }
  }

  private static float[] atLeast(float[] x, int n) {
    return x.length >= n ? x : new float[n];
  }
}
