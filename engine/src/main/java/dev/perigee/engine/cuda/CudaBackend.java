package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.AdamWRule;
import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.ExpertRows;
import dev.perigee.engine.backend.HostStore;
import dev.perigee.engine.backend.MuonRule;
import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.backend.RouterShape;
import dev.perigee.engine.backend.Routine;
import dev.perigee.engine.backend.Sum;
import dev.perigee.engine.backend.Vocabulary;
import dev.perigee.engine.cuda.driver.Cuda;
import dev.perigee.engine.cuda.driver.Device;
import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.DeviceMemory;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.cuda.kernels.RandomNormal;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * The operations on one GPU, in one stream. With {@link Precision#BF16} activations are bf16
 * numbers in its memory and products multiply such; master weights, gradients and sums are float32,
 * and a rounded copy of the weights is kept and made anew after they have changed. Sums have a
 * fixed order, so results are bitwise reproducible.
 *
 * <p>An operation takes the kernel that was made for its widths where there is one, else plain
 * ones; {@link CudaProducts}, {@link CudaLayers}, {@link CudaAttention}, {@link CudaExperts},
 * {@link CudaHead} and {@link CudaUpdates} choose. The host waits for the device where the
 * interface hands it numbers: the loss and norms, and rows that go to other ranks.
 */
public final class CudaBackend implements Backend, AutoCloseable {
  /** What the thread's exchanges wait for, where that is less than all work on tensors so far. */
  public static final ScopedValue<Queue.Mark> HERE = ScopedValue.newInstance();

  private final Work work;
  private final Staging staging;
  private final TensorMemory memory;
  private final CudaProducts products;
  private final CudaLayers layers;
  private final CudaAttention attention;
  private final CudaExperts experts;
  private final CudaHead head;
  private final CudaUpdates updates;
  private final Arena arena;
  private final HostStore hostStore;
  private final Runnable close;
  private Optional<Device> device = Optional.empty();
  private boolean records = true;

  /**
   * What launches depend on.
   *
   * @param multiprocessors how many
   * @param computeCapability ten times the major version plus the minor
   */
  record Chip(int multiprocessors, int computeCapability) {
    /** Whether it runs the kernels for Hopper's tensor cores. */
    boolean hopper() {
      return computeCapability == 90;
    }
  }

  /**
   * On GPU {@code ordinal}, which becomes current on the calling thread; with cuBLAS where it is
   * installed.
   *
   * @throws CudaException when there is no such GPU; ask {@link Cuda#whyAbsent} first
   */
  public static CudaBackend open(int ordinal, Precision precision) {
    Device device = Device.open(ordinal);
    DeviceArena memory = device.arena();
    Optional<Product> cublas = Cublas.load(device.compute(), memory).map(p -> p);
    Product product = cublas.orElseGet(() -> new TiledProduct(device.compute()));
    return on(device, memory, product, precision);
  }

  /** With the given memory and products; closing closes the device and them. */
  static CudaBackend on(Device device, DeviceArena memory, Product product, Precision precision) {
    CudaBackend backend =
        new CudaBackend(
            new Chip(device.multiprocessors(), device.computeCapability()),
            device.compute(),
            device.offload(),
            memory,
            product,
            precision,
            () -> {
              device.compute().synchronize();
              device.offload().synchronize();
              product.close();
              memory.close();
              device.close();
            });
    backend.device = Optional.of(device);
    return backend;
  }

  /** The GPU that this computes on; there is none under a fake. */
  public Device device() {
    return device.orElseThrow();
  }

  /** Over whatever takes launches; {@code beside} is for copies to and from the host. */
  CudaBackend(
      Chip chip,
      Queue queue,
      Queue beside,
      DeviceMemory from,
      Product product,
      Precision precision,
      Runnable close) {
    this.close = close;
    staging = new Staging(queue, from);
    hostStore = new PinnedStore(queue, beside, from);
    memory = new TensorMemory(queue, from, staging);
    work = new Work(chip, queue, staging, memory, product, precision);
    products = new CudaProducts(work);
    layers = new CudaLayers(work);
    attention = new CudaAttention(work);
    experts = new CudaExperts(work);
    head = new CudaHead(work);
    updates = new CudaUpdates(work);
    arena =
        precision == Precision.BF16
            ? new Arena(memory::bf16, memory::floats)
            : new Arena(memory::floats);
  }

  /** Frees all memory; no tensor of it can be used any more. */
  @Override
  public void close() {
    close.run();
  }

  /** Does the work of routines as it is asked for from now on, to compare with recorded work. */
  public void recordNothing() {
    records = false;
  }

  /** The GPU's name as the driver has it. */
  public String deviceName() {
    return device().name();
  }

  /** Waits until everything that was asked for so far is done. */
  public void synchronize() {
    work.queue().synchronize();
  }

  // Memory.

  /** Fills {@code x} with normal numbers that bf16 holds, made on the device: for benchmarks. */
  public void fillNormal(Tensor x, int seed, float deviation) {
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer numbers = work.bf16(x.size());
      work.launch(RandomNormal.fill(numbers, seed, deviation));
      work.launch(FloatKernels.fromBf16(numbers, TensorMemory.floats(x)));
      Work.written(x);
    }
  }

  @Override
  public Tensor zeros(int... shape) {
    Tensor x = new Tensor(memory.floats(size(shape)), 0, shape);
    fill(x, 0);
    return x;
  }

  @Override
  public Tensor weights(int... shape) {
    if (work.precision() == Precision.FP32) {
      return zeros(shape);
    }
    Tensor x = new Tensor(memory.floatsAndRounded(size(shape)), 0, shape);
    fill(x, 0);
    return x;
  }

  private static int size(int... shape) {
    return Arrays.stream(shape).reduce(1, Math::multiplyExact);
  }

  @Override
  public Arena arena() {
    return arena;
  }

  @Override
  public HostStore hostStore() {
    return hostStore;
  }

  @Override
  public void packFp8(Tensor x_TC, Tensor packed_TP) {
    work.launch(fp8(x_TC).pack(Work.at(x_TC), Work.written(packed_TP)));
  }

  @Override
  public void unpackFp8(Tensor packed_TP, Tensor x_TC) {
    work.launch(fp8(x_TC).unpack(Work.at(packed_TP), Work.written(x_TC)));
  }

  private static Fp8Rows fp8(Tensor x_TC) {
    return new Fp8Rows(x_TC.dim(0), x_TC.dim(1), x_TC.storage().width() == 2);
  }

  @Override
  public Tensor activations(int... shape) {
    if (work.precision() == Precision.FP32) {
      return zeros(shape);
    }
    Tensor x = new Tensor(memory.bf16(size(shape)), 0, shape);
    fill(x, 0);
    return x;
  }

  @Override
  public Runnable fromHere(Runnable exchanges) {
    Queue.Mark here = work.queue().mark();
    return () -> {
      try (here) {
        ScopedValue.where(HERE, here).run(exchanges);
      }
    };
  }

  @Override
  public Indices range(int n) {
    Tensor words = arena.takeFloats(n);
    work.launch(FloatKernels.range(Work.written(words), n));
    return CudaIndices.computed(words, staging);
  }

  @Override
  public Indices.Slot slot(int size) {
    return CudaIndices.sent(new int[size], new Tensor(memory.floats(size), 0, size), staging);
  }

  @Override
  public Sum sum() {
    return new CudaSum(work, new Tensor(memory.floats(2), 0, 2));
  }

  @Override
  public Rates rates() {
    return new CudaRates(staging, new Tensor(memory.floats(4), 0, 4));
  }

  @Override
  public Routine routine(Runnable asked) {
    return records
        ? new CudaRoutine(work.queue(), staging, memory, arena, asked)
        : Backend.super.routine(asked);
  }

  @Override
  public Indices indices(int... values) {
    return CudaIndices.sent(values, arena.takeFloats(values.length), staging);
  }

  /** Where indices are for the operation that is queued next. */
  private DeviceBuffer at(Indices x) {
    return x instanceof CudaIndices here ? here.at() : staging.indices(x.onHost());
  }

  @Override
  public void fill(Tensor x, float value) {
    if (value == 0) {
      if (x.size() > 0) {
        work.queue().fill(Work.written(x), (byte) 0);
      }
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(FloatKernels.fill(f.result(x), value));
    }
  }

  @Override
  public void copy(Tensor from, Tensor to) {
    same(from, to);
    if (from.size() == 0) {
      return;
    }
    if (Work.isBf16(from) == Work.isBf16(to)) {
      work.queue().copy(Work.at(from), Work.written(to));
    } else if (Work.isBf16(from)) {
      work.launch(FloatKernels.fromBf16(Work.at(from), Work.written(to)));
    } else {
      work.launch(FloatKernels.toBf16(Work.at(from), Work.written(to)));
    }
  }

  @Override
  public void add(Tensor x, Tensor y) {
    axpby(1, x, 1, y);
  }

  @Override
  public void axpby(float a, Tensor x, float b, Tensor y) {
    same(x, y);
    if (Work.areBf16(x, y)) {
      work.launch(FloatKernels.axpbyBf16(a, Work.at(x), b, Work.written(y)));
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      DeviceBuffer from = f.of(x);
      work.launch(FloatKernels.axpby(a, from, b, b == 0 ? f.result(y) : f.changed(y)));
    }
  }

  @Override
  public double sumOfSquares(Tensor x) {
    return updates.sumOfSquares(x);
  }

  @Override
  public double sumOfSquares(List<Tensor> xs) {
    return updates.sumOfSquares(xs);
  }

  @Override
  public void adamW(
      AdamWRule rule, Rates rates, Tensor gradient, Tensor mean, Tensor square, Tensor weight) {
    same(gradient, weight);
    same(mean, weight);
    same(square, weight);
    updates.adamW(rule, (CudaRates) rates, gradient, mean, square, weight);
  }

  @Override
  public boolean muon(
      MuonRule rule, Rates rates, Tensor gradient_BNM, Tensor momentum_BNM, Tensor weight_BNM) {
    same(gradient_BNM, weight_BNM);
    same(momentum_BNM, weight_BNM);
    return updates.muon(rule, (CudaRates) rates, gradient_BNM, momentum_BNM, weight_BNM);
  }

  @Override
  public void splitColumns(Tensor x_TC, Tensor left, Tensor right) {
    int rows = x_TC.dim(0);
    int a = left.dim(1);
    int b = right.dim(1);
    if (CudaExperts.areWords(x_TC, left, right)) {
      work.launch(
          FloatKernels.splitColumns(
              Work.at(x_TC), Work.written(left), Work.written(right), rows, a / 2, b / 2));
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.splitColumns(f.of(x_TC), f.result(left), f.result(right), rows, a, b));
    }
  }

  @Override
  public void joinColumns(Tensor left, Tensor right, Tensor x_TC) {
    int rows = x_TC.dim(0);
    int a = left.dim(1);
    int b = right.dim(1);
    if (CudaExperts.areWords(left, right, x_TC)) {
      work.launch(
          FloatKernels.joinColumns(
              Work.at(left), Work.at(right), Work.written(x_TC), rows, a / 2, b / 2));
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(FloatKernels.joinColumns(f.of(left), f.of(right), f.result(x_TC), rows, a, b));
    }
  }

  @Override
  public void gatherRows(Tensor x_TC, Indices rows, Tensor y_SC) {
    experts.gatherRows(x_TC, at(rows), rows.size(), y_SC);
  }

  // Products.

  @Override
  public void matmul(
      float alpha,
      Tensor a,
      boolean transposeA,
      Tensor b,
      boolean transposeB,
      float beta,
      Tensor c) {
    products.matmul(alpha, a, transposeA, b, transposeB, beta, c);
  }

  @Override
  public void groupedLinear(Tensor x_SI, Tensor w_EOI, Indices offsets_E1, Tensor y_SO) {
    if (!products.grouped(x_SI, w_EOI, at(offsets_E1), y_SO)) {
      Backend.super.groupedLinear(x_SI, w_EOI, offsets_E1, y_SO);
    }
  }

  @Override
  public void groupedSwiGlu(
      Tensor x_SI, Tensor w_EFFI, Indices offsets_E1, Tensor gu_SFF, Tensor h_SF) {
    if (!products.groupedSwiGlu(x_SI, w_EFFI, at(offsets_E1), gu_SFF, h_SF)) {
      Backend.super.groupedSwiGlu(x_SI, w_EFFI, offsets_E1, gu_SFF, h_SF);
    }
  }

  @Override
  public void groupedLinearBackwardInput(
      Tensor dy_SO, Tensor w_EOI, Indices offsets_E1, Tensor dx_SI) {
    if (!products.groupedBackwardInput(dy_SO, w_EOI, at(offsets_E1), dx_SI)) {
      Backend.super.groupedLinearBackwardInput(dy_SO, w_EOI, offsets_E1, dx_SI);
    }
  }

  @Override
  public void groupedLinearBackwardWeight(
      Tensor dy_SO, Tensor x_SI, Indices offsets_E1, Tensor dw_EOI) {
    if (!products.groupedBackwardWeight(dy_SO, x_SI, at(offsets_E1), dw_EOI)) {
      Backend.super.groupedLinearBackwardWeight(dy_SO, x_SI, offsets_E1, dw_EOI);
    }
  }

  // Layers.

  @Override
  public void embedding(Indices ids, Tensor w_VH, Tensor y_TH) {
    Vocabulary.requireTokens(ids.onHost(), w_VH.dim(0));
    gatherRows(w_VH, ids, y_TH);
  }

  @Override
  public void embeddingBackward(Indices tokens, Tensor dy_TH, Tensor dw_VH) {
    Vocabulary.requireTokens(tokens.onHost(), dw_VH.dim(0));
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.addById(
              f.of(dy_TH), at(tokens), f.changed(dw_VH), tokens.size(), dw_VH.dim(1)));
    }
  }

  @Override
  public void rmsNorm(Tensor x_TC, Tensor gain_C, float epsilon, Tensor y_TC, Tensor scale_T) {
    layers.rmsNorm(x_TC, gain_C, epsilon, y_TC, scale_T);
  }

  @Override
  public void rmsNormBackwardInput(
      Tensor dy_TC, Tensor x_TC, Tensor gain_C, Tensor scale_T, Tensor dx_TC, boolean accumulate) {
    layers.rmsNormBackwardInput(dy_TC, x_TC, gain_C, scale_T, dx_TC, accumulate);
  }

  @Override
  public void rmsNormBackwardWeight(Tensor dy_TC, Tensor x_TC, Tensor scale_T, Tensor dgain_C) {
    layers.rmsNormBackwardWeight(dy_TC, x_TC, scale_T, dgain_C);
  }

  @Override
  public void swiGlu(Tensor gu_TFF, Tensor h_TF) {
    layers.swiGlu(gu_TFF, h_TF);
  }

  @Override
  public void swiGluBackward(Tensor dh_TF, Tensor gu_TFF, Tensor dgu_TFF) {
    layers.swiGluBackward(dh_TF, gu_TFF, dgu_TFF);
  }

  @Override
  public void rotate(
      Tensor x_TC, int width, Indices positions_T, Tensor cos_PR, Tensor sin_PR, boolean inverse) {
    layers.rotate(x_TC, width, at(positions_T), cos_PR, sin_PR, inverse);
  }

  @Override
  public int attentionMemory(AttentionShape shape) {
    return attention.memory(shape);
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
    attention.latent(shape, q_BQ, w_XL, cache_BPC, at(lengths_B), reach, out_BO);
  }

  // Experts.

  @Override
  public Indices route(RouterShape shape, Tensor logits_TE, Tensor bias_E, Tensor weight_TK) {
    Tensor chosen_TK = arena.takeFloats(logits_TE.dim(0) * shape.chosen());
    experts.route(shape, logits_TE, bias_E, Work.written(chosen_TK), weight_TK);
    return CudaIndices.computed(chosen_TK, staging);
  }

  @Override
  public void routeBackward(
      RouterShape shape, Tensor dweight_TK, Tensor s_TE, Indices chosen_TK, Tensor dlogits_TE) {
    experts.routeBackward(shape, dweight_TK, s_TE, at(chosen_TK), dlogits_TE);
  }

  @Override
  public ExpertRows expertRows(Indices chosen_TK, int expertCount) {
    int pairs = chosen_TK.size();
    // Experts' rows are in the order of pairs, however many of them are one token's.
    if (!CudaExperts.canPlan(pairs, expertCount, 1)) {
      return Backend.super.expertRows(chosen_TK, expertCount);
    }
    Tensor offsets_E1 = arena.takeFloats(expertCount + 1);
    Tensor slot_TK = arena.takeFloats(pairs);
    Tensor pair_S = arena.takeFloats(pairs);
    experts.plan(
        pairs,
        expertCount,
        /* chosen= */ 1,
        at(chosen_TK),
        Work.written(offsets_E1),
        Work.written(slot_TK),
        Work.written(pair_S));
    return new ExpertRows(
        CudaIndices.computed(offsets_E1, staging),
        CudaIndices.computed(slot_TK, staging),
        CudaIndices.computed(pair_S, staging));
  }

  @Override
  public void countRows(Indices offsets_E1, Tensor count_E) {
    experts.countRows(at(offsets_E1), count_E);
  }

  @Override
  public void spreadRows(Tensor x_TC, Indices slot_TK, Tensor y_SC) {
    experts.spreadRows(x_TC, at(slot_TK), slot_TK.size(), y_SC);
  }

  @Override
  public void combineRows(Tensor x_SC, Indices slot_TK, Tensor weight_TK, Tensor y_TC) {
    experts.combineRows(x_SC, at(slot_TK), slot_TK.size(), weight_TK, y_TC);
  }

  @Override
  public void combineRowsBackward(
      Tensor dy_TC,
      Tensor x_SC,
      Indices slot_TK,
      Tensor weight_TK,
      Tensor dx_SC,
      Tensor dweight_TK) {
    experts.combineRowsBackward(
        dy_TC, x_SC, at(slot_TK), slot_TK.size(), weight_TK, dx_SC, dweight_TK);
  }

  // The loss.

  @Override
  public void crossEntropy(Tensor logits_TV, Indices targets_T, float gradScale, Sum loss) {
    Vocabulary.requireTargets(targets_T.onHost(), logits_TV.dim(1));
    if (logits_TV.dim(0) > 0) {
      head.crossEntropy(logits_TV, at(targets_T), gradScale, (CudaSum) loss);
    }
  }

  @Override
  public boolean fusesLoss(Tensor x_TH, Tensor w_VH) {
    return head.isFused(x_TH, w_VH);
  }

  @Override
  public void linearCrossEntropy(
      Tensor x_TH,
      Tensor w_VH,
      Indices targets_T,
      float gradScale,
      Tensor dx_TH,
      Tensor dw_VH,
      Sum loss) {
    if (!head.isFused(x_TH, w_VH) || !Work.areBf16(dx_TH) || Work.isBf16(dw_VH)) {
      Backend.super.linearCrossEntropy(x_TH, w_VH, targets_T, gradScale, dx_TH, dw_VH, loss);
      return;
    }
    Vocabulary.requireTargets(targets_T.onHost(), w_VH.dim(0));
    head.linearCrossEntropy(x_TH, w_VH, at(targets_T), gradScale, dx_TH, dw_VH, (CudaSum) loss);
  }

  private static void same(Tensor x, Tensor y) {
    if (x.size() != y.size()) {
      throw new IllegalArgumentException(x + " and " + y + " differ in size");
    }
  }
}
