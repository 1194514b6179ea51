package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.cuda.Product.Operand;
import dev.perigee.engine.cuda.Product.Sizes;
import dev.perigee.engine.tensor.Tensor;

/**
 * Multi-head latent attention from products over all heads of a sequence at once, with the
 * probabilities in memory as the interface has them. Letters as in {@link AttentionShape}; D = N +
 * R.
 */
final class CudaAttention {
  private final Work work;

  CudaAttention(Work work) {
    this.work = work;
  }

  /** See {@link dev.perigee.engine.backend.Backend#attention}. */
  void forward(
      AttentionShape s,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor p_BHTT,
      float[] maxLogit_H) {
    Widths w = new Widths(s);
    DeviceBuffer most_H;
    try (Arena.Scope _ = work.open()) {
      most_H = work.floats(s.heads());
      work.launch(FloatKernels.fill(most_H, Float.NEGATIVE_INFINITY));
      Operand q = work.operand(Work.at(q_TQ), w.q, w.d);
      Operand v = work.operand(Work.at(kv_TX), w.x, w.headRow).from(s.nope());
      for (int b = 0; b < s.batch(); b++) {
        try (Arena.Scope _ = work.open()) {
          Operand k_HTD = joinedKeys(s, w, kv_TX, k_TR, b);
          DeviceBuffer p_HTT = sequence(p_BHTT, s, b, w.p);
          work.multiply(
              new Sizes(false, true, w.t, w.t, w.d, s.heads()),
              s.scale(),
              q.from((long) b * w.t * w.q),
              k_HTD,
              0,
              Work.result(p_HTT, w.t, w.square));
          work.launch(FloatKernels.causalSoftmax(p_HTT, most_H, w.t, s.heads()));
          work.multiply(
              new Sizes(false, false, w.t, s.value(), w.t, s.heads()),
              1,
              work.operand(p_HTT, w.t, w.square),
              v.from((long) b * w.t * w.x),
              0,
              Work.result(sequence(out_TO, s, b, (long) w.t * w.o), w.o, s.value()));
        }
      }
      float[] most = new float[s.heads()];
      work.staging().read(most_H, most, 0, most.length);
      for (int h = 0; h < most.length; h++) {
        maxLogit_H[h] = Math.max(maxLogit_H[h], most[h]);
      }
    }
  }

  /** See {@link dev.perigee.engine.backend.Backend#attentionBackward}. */
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
    Widths w = new Widths(s);
    try (Arena.Scope _ = work.open()) {
      Operand q = work.operand(Work.at(q_TQ), w.q, w.d);
      Operand v = work.operand(Work.at(kv_TX), w.x, w.headRow).from(s.nope());
      Operand dout = work.operand(Work.at(dout_TO), w.o, s.value());
      for (int b = 0; b < s.batch(); b++) {
        try (Arena.Scope _ = work.open()) {
          long rows = (long) b * w.t;
          DeviceBuffer p_HTT = sequence(p_BHTT, s, b, w.p);
          DeviceBuffer dkv = sequence(dkv_TX, s, b, (long) w.t * w.x);
          Operand dout_b = dout.from(rows * w.o);
          work.multiply(
              new Sizes(true, false, w.t, s.value(), w.t, s.heads()),
              1,
              work.operand(p_HTT, w.t, w.square),
              dout_b,
              0,
              Work.result(dkv, w.x, w.headRow).from(s.nope()));
          DeviceBuffer dp_HTT = work.floats(w.p);
          work.multiply(
              new Sizes(false, true, w.t, w.t, s.value(), s.heads()),
              1,
              dout_b,
              v.from(rows * w.x),
              0,
              Work.result(dp_HTT, w.t, w.square));
          work.launch(
              FloatKernels.softmaxBackward(
                  s,
                  p_HTT,
                  dp_HTT,
                  sequence(dout_TO, s, b, (long) w.t * w.o),
                  sequence(out_TO, s, b, (long) w.t * w.o)));
          Operand dlogits = work.operand(dp_HTT, w.t, w.square);
          work.multiply(
              new Sizes(false, false, w.t, w.d, w.t, s.heads()),
              1,
              dlogits,
              joinedKeys(s, w, kv_TX, k_TR, b),
              0,
              Work.result(sequence(dq_TQ, s, b, (long) w.t * w.q), w.q, w.d));
          DeviceBuffer dk_HTD = work.floats((long) s.heads() * w.t * w.d);
          work.multiply(
              new Sizes(true, false, w.t, w.d, w.t, s.heads()),
              1,
              dlogits,
              q.from(rows * w.q),
              0,
              Work.result(dk_HTD, w.d, (long) w.t * w.d));
          work.launch(
              FloatKernels.splitKeys(s, dk_HTD, dkv, sequence(dk_TR, s, b, (long) w.t * s.rope())));
        }
      }
    }
  }

  /** See {@link dev.perigee.engine.backend.Backend#latentAttention}. */
  void latent(
      AttentionShape s, Tensor q_BQ, Tensor w_XL, Tensor cache_BPC, int filled, Tensor out_BO) {
    Widths w = new Widths(s);
    int rank = w_XL.dim(1);
    int c = rank + s.rope();
    int heads = s.heads();
    long cacheStride = (long) cache_BPC.dim(1) * c;
    try (Arena.Scope _ = work.open()) {
      Operand weights = work.operand(Work.at(w_XL), rank, (long) w.headRow * rank);
      DeviceBuffer absorbed_BHC = work.floats((long) s.batch() * heads * c);
      work.multiply(
          new Sizes(false, false, s.batch(), rank, s.nope(), heads),
          1,
          work.operand(Work.at(q_BQ), w.q, w.d),
          weights,
          0,
          Work.result(absorbed_BHC, heads * c, c));
      work.launch(FloatKernels.appendRope(s, Work.at(q_BQ), absorbed_BHC, s.batch() * heads, rank));
      Operand cache = work.operand(Work.at(cache_BPC), c, cacheStride);
      DeviceBuffer p_BHP = work.floats((long) s.batch() * heads * filled);
      Operand p = Work.result(p_BHP, filled, (long) heads * filled);
      work.multiply(
          new Sizes(false, true, heads, filled, c, s.batch()),
          s.scale(),
          work.operand(absorbed_BHC, c, (long) heads * c),
          cache,
          0,
          p);
      work.launch(FloatKernels.softmax(p_BHP, heads, s.batch(), filled));
      DeviceBuffer mixed_BHL = work.floats((long) s.batch() * heads * rank);
      work.multiply(
          new Sizes(false, false, heads, rank, filled, s.batch()),
          1,
          work.operand(p_BHP, filled, (long) heads * filled),
          cache,
          0,
          Work.result(mixed_BHL, rank, (long) heads * rank));
      work.multiply(
          new Sizes(false, true, s.batch(), s.value(), rank, heads),
          1,
          work.operand(mixed_BHL, heads * rank, rank),
          weights.from((long) s.nope() * rank),
          0,
          Work.result(Work.at(out_BO), w.o, s.value()));
    }
  }

  /** One sequence's keys by head, in one piece. */
  private Operand joinedKeys(AttentionShape s, Widths w, Tensor kv_TX, Tensor k_TR, int b) {
    boolean bf16 = work.precision() == Precision.BF16;
    long count = (long) s.heads() * w.t * w.d;
    DeviceBuffer k_HTD = bf16 ? work.bf16(count) : work.floats(count);
    work.launch(
        FloatKernels.joinKeys(
            s,
            sequence(kv_TX, s, b, (long) w.t * w.x),
            sequence(k_TR, s, b, (long) w.t * s.rope()),
            bf16,
            k_HTD));
    return new Operand(k_HTD.address(), bf16, w.d, (long) w.t * w.d);
  }

  /** One sequence's part of a tensor, {@code size} numbers. */
  private static DeviceBuffer sequence(Tensor x, AttentionShape s, int b, long size) {
    if (x.size() != s.batch() * size) {
      throw new IllegalArgumentException(
          x + " does not hold " + size + " numbers a sequence: " + s);
    }
    return Work.at(x).slice(4L * b * size, 4L * size);
  }

  /** Widths of rows that follow from a shape. */
  private static final class Widths {
    final int t;
    final int d;
    final int headRow;
    final int q;
    final int x;
    final int o;
    final long square;
    final long p;

    Widths(AttentionShape s) {
      t = s.length();
      d = s.nope() + s.rope();
      headRow = s.nope() + s.value();
      q = s.heads() * d;
      x = s.heads() * headRow;
      o = s.heads() * s.value();
      square = (long) t * t;
      p = s.heads() * square;
    }
  }
}
