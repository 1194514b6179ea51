package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.cuda.Product.Operand;
import dev.perigee.engine.cuda.Product.Sizes;
import dev.perigee.engine.tensor.Tensor;

/**
 * Multi-head latent attention: {@link MlaPrefill} for the widths that it knows, else products over
 * all heads of a sequence at once with the probabilities in memory. Letters as in {@link
 * AttentionShape}; D = N + R.
 */
final class CudaAttention {
  private final Work work;

  CudaAttention(Work work) {
    this.work = work;
  }

  /** See {@link dev.perigee.engine.backend.Backend#attentionMemory}. */
  int memory(AttentionShape s) {
    return isFused(s) ? Math.toIntExact(fused(s).rowBytes() / 4) : s.probabilities();
  }

  private boolean isFused(AttentionShape s) {
    return work.hopper()
        && s.nope() == MlaPrefill.NOPE
        && s.rope() == MlaPrefill.ROPE
        && s.value() == MlaPrefill.VALUE
        && s.batch() > 0;
  }

  private static MlaPrefill fused(AttentionShape s) {
    return new MlaPrefill(s.batch(), s.length(), s.heads(), s.scale());
  }

  /** See {@link dev.perigee.engine.backend.Backend#attention}. */
  void forward(
      AttentionShape s,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor kept,
      Tensor maxLogit_H) {
    if (isFused(s)) {
      try (Work.Bf16 b = work.inBf16()) {
        work.launch(
            fused(s)
                .forward(
                    work.multiprocessors(),
                    b.of(q_TQ),
                    b.of(kv_TX),
                    b.of(k_TR),
                    b.result(out_TO),
                    Work.written(kept),
                    Work.written(maxLogit_H)));
      }
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      forward(
          s,
          f.of(q_TQ),
          f.of(kv_TX),
          f.of(k_TR),
          f.result(out_TO),
          f.result(kept),
          Work.written(maxLogit_H));
    }
  }

  private void forward(
      AttentionShape s,
      DeviceBuffer q_TQ,
      DeviceBuffer kv_TX,
      DeviceBuffer k_TR,
      DeviceBuffer out_TO,
      DeviceBuffer p_BHTT,
      DeviceBuffer most_H) {
    Widths w = new Widths(s);
    try (Arena.Scope _ = work.open()) {
      Operand q = work.operand(q_TQ, w.q, w.d);
      Operand v = work.operand(kv_TX, w.x, w.headRow).from(s.nope());
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
      Tensor kept,
      Tensor dq_TQ,
      Tensor dkv_TX,
      Tensor dk_TR) {
    if (isFused(s)) {
      try (Work.Bf16 b = work.inBf16()) {
        MlaPrefill prefill = fused(s);
        work.launch(
            prefill.backward(
                work.multiprocessors(),
                b.of(q_TQ),
                b.of(kv_TX),
                b.of(k_TR),
                b.of(out_TO),
                Work.at(kept),
                b.of(dout_TO),
                b.result(dq_TQ),
                b.result(dkv_TX),
                b.result(dk_TR),
                work.bytes(prefill.scratchBytes())));
      }
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      backward(
          s,
          f.of(dout_TO),
          f.of(q_TQ),
          f.of(kv_TX),
          f.of(k_TR),
          f.of(out_TO),
          f.of(kept),
          f.result(dq_TQ),
          f.result(dkv_TX),
          f.result(dk_TR));
    }
  }

  private void backward(
      AttentionShape s,
      DeviceBuffer dout_TO,
      DeviceBuffer q_TQ,
      DeviceBuffer kv_TX,
      DeviceBuffer k_TR,
      DeviceBuffer out_TO,
      DeviceBuffer p_BHTT,
      DeviceBuffer dq_TQ,
      DeviceBuffer dkv_TX,
      DeviceBuffer dk_TR) {
    Widths w = new Widths(s);
    try (Arena.Scope _ = work.open()) {
      Operand q = work.operand(q_TQ, w.q, w.d);
      Operand v = work.operand(kv_TX, w.x, w.headRow).from(s.nope());
      Operand dout = work.operand(dout_TO, w.o, s.value());
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
      AttentionShape s,
      Tensor q_BQ,
      Tensor w_XL,
      Tensor cache_BPC,
      DeviceBuffer lengths_B,
      int reach,
      Tensor out_BO) {
    Widths w = new Widths(s);
    int rank = w_XL.dim(1);
    int c = rank + s.rope();
    int heads = s.heads();
    try (Work.Floats f = work.inFloats()) {
      DeviceBuffer q_floats = f.of(q_BQ);
      DeviceBuffer out = f.result(out_BO);
      Operand weights = work.operand(w_XL, rank, (long) w.headRow * rank);
      DeviceBuffer absorbed_BHC = work.floats((long) s.batch() * heads * c);
      work.multiply(
          new Sizes(false, false, s.batch(), rank, s.nope(), heads),
          1,
          work.operand(q_BQ, w.q, w.d),
          weights,
          0,
          Work.result(absorbed_BHC, heads * c, c));
      work.launch(FloatKernels.appendRope(s, q_floats, absorbed_BHC, s.batch() * heads, rank));
      Operand mixed =
          isPaged(s, rank, cache_BPC)
              ? mixedPages(s, absorbed_BHC, cache_BPC, lengths_B)
              : mixed(s, rank, absorbed_BHC, cache_BPC, lengths_B, reach);
      work.multiply(
          new Sizes(false, true, s.batch(), s.value(), rank, heads),
          1,
          mixed,
          weights.from((long) s.nope() * rank),
          0,
          Work.result(out, w.o, s.value()));
    }
  }

  /** Whether {@link MlaDecode} reads such a cache. */
  private boolean isPaged(AttentionShape s, int rank, Tensor cache_BPC) {
    return work.hopper()
        && rank == MlaDecode.VALUE
        && rank + s.rope() == MlaDecode.KEY
        && s.batch() <= MlaDecode.MOST_SEQUENCES
        && cache_BPC.dim(1) % MlaDecode.PAGE == 0
        && work.areWide(cache_BPC);
  }

  /** Each head's softmax · latents, as an operand by head. */
  private Operand mixedPages(
      AttentionShape s, DeviceBuffer absorbed_BHC, Tensor cache_BPC, DeviceBuffer lengths_B) {
    int width = cache_BPC.dim(1) / MlaDecode.PAGE;
    MlaDecode decode = new MlaDecode(s.batch(), s.heads(), s.batch() * width, width, s.scale());
    DeviceBuffer q_BHC = work.bf16(absorbed_BHC.bytes() / 4);
    work.launch(FloatKernels.toBf16(absorbed_BHC, q_BHC));
    DeviceBuffer mixed_BHL = work.bf16((long) s.batch() * s.heads() * MlaDecode.VALUE);
    work.launch(
        decode.attend(
            work.multiprocessors(),
            q_BHC,
            Work.at(cache_BPC),
            work.range(s.batch() * width), // each sequence's pages lie one after the other
            lengths_B,
            mixed_BHL,
            work.bytes(decode.scratchBytes(work.multiprocessors()))));
    return new Operand(mixed_BHL.address(), true, s.heads() * MlaDecode.VALUE, MlaDecode.VALUE);
  }

  /** The same by products, with the logits of all positions up to {@code reach} in memory. */
  private Operand mixed(
      AttentionShape s,
      int rank,
      DeviceBuffer absorbed_BHC,
      Tensor cache_BPC,
      DeviceBuffer lengths_B,
      int reach) {
    int heads = s.heads();
    int c = rank + s.rope();
    Operand cache = work.operand(cache_BPC, c, (long) cache_BPC.dim(1) * c);
    DeviceBuffer p_BHP = work.floats((long) s.batch() * heads * reach);
    work.multiply(
        new Sizes(false, true, heads, reach, c, s.batch()),
        s.scale(),
        work.operand(absorbed_BHC, c, (long) heads * c),
        cache,
        0,
        Work.result(p_BHP, reach, (long) heads * reach));
    work.launch(FloatKernels.softmax(p_BHP, lengths_B, heads, s.batch(), reach));
    DeviceBuffer mixed_BHL = work.floats((long) s.batch() * heads * rank);
    work.multiply(
        new Sizes(false, false, heads, rank, reach, s.batch()),
        1,
        work.operand(p_BHP, reach, (long) heads * reach),
        cache,
        0,
        Work.result(mixed_BHL, rank, (long) heads * rank));
    return work.operand(mixed_BHL, heads * rank, rank);
  }

  /** One sequence's keys by head, in one piece. */
  private Operand joinedKeys(
      AttentionShape s, Widths w, DeviceBuffer kv_TX, DeviceBuffer k_TR, int b) {
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
  private static DeviceBuffer sequence(DeviceBuffer x, AttentionShape s, int b, long size) {
    if (x.bytes() != 4L * s.batch() * size) {
      throw new IllegalArgumentException(
          x + " does not hold " + size + " numbers a sequence: " + s);
    }
    return x.slice(4L * b * size, 4L * size);
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
