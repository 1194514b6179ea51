package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.AdamWStep;
import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.HostStore;
import dev.perigee.engine.backend.RouterShape;
import dev.perigee.engine.cuda.Product.Operand;
import dev.perigee.engine.cuda.Product.Sizes;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import java.util.Optional;

/**
 * The operations on one GPU, in one stream. Tensors are float32 in its memory; {@link Precision}
 * says what products multiply. Sums have a fixed order, so results are bitwise reproducible.
 *
 * <p>The host waits for the device where the interface hands it numbers: the chosen experts, the
 * largest logits, the loss and norms.
 */
public final class CudaBackend implements Backend, AutoCloseable {
  private final Chip chip;
  private final Work work;
  private final Staging staging;
  private final TensorMemory memory;
  private final CudaAttention attention;
  private final Arena arena;
  private final HostStore hostStore = HostStore.ofArrays();
  private final Runnable close;
  private Optional<Device> device = Optional.empty();

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
    Optional<Product> cublas = Cublas.load(device.compute()).map(p -> p);
    return on(device, cublas.orElseGet(() -> new TiledProduct(device.compute())), precision);
  }

  /** With the given products; closing closes the device and them. */
  static CudaBackend on(Device device, Product product, Precision precision) {
    DeviceArena memory = device.arena();
    CudaBackend backend =
        new CudaBackend(
            new Chip(device.multiprocessors(), device.computeCapability()),
            device.compute(),
            memory,
            product,
            precision,
            () -> {
              device.compute().synchronize();
              product.close();
              memory.close();
              device.close();
            });
    backend.device = Optional.of(device);
    return backend;
  }

  /** The GPU that this computes on; there is none under a fake. */
  Device device() {
    return device.orElseThrow();
  }

  /** Over whatever takes launches. */
  CudaBackend(
      Chip chip,
      Queue queue,
      DeviceMemory from,
      Product product,
      Precision precision,
      Runnable close) {
    this.chip = chip;
    this.close = close;
    staging = new Staging(queue, from);
    memory = new TensorMemory(queue, from, staging);
    work = new Work(queue, staging, memory, product, precision);
    attention = new CudaAttention(work);
    arena = new Arena(memory::allocate);
  }

  /** Frees all memory; no tensor of it can be used any more. */
  @Override
  public void close() {
    close.run();
  }

  // Memory.

  @Override
  public Tensor zeros(int... shape) {
    int n = Arrays.stream(shape).reduce(1, Math::multiplyExact);
    Tensor x = new Tensor(memory.allocate(n), 0, shape);
    fill(x, 0);
    return x;
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
  public void fill(Tensor x, float value) {
    work.launch(FloatKernels.fill(Work.at(x), value));
  }

  @Override
  public void copy(Tensor from, Tensor to) {
    same(from, to);
    if (from.size() > 0) {
      work.queue().copy(Work.at(from), Work.at(to));
    }
  }

  @Override
  public void add(Tensor x, Tensor y) {
    axpby(1, x, 1, y);
  }

  @Override
  public void axpby(float a, Tensor x, float b, Tensor y) {
    same(x, y);
    work.launch(FloatKernels.axpby(a, Work.at(x), b, Work.at(y)));
  }

  @Override
  public double sumOfSquares(Tensor x) {
    try (Arena.Scope _ = work.open()) {
      int parts = FloatKernels.squareParts(x.size());
      DeviceBuffer part = work.doubles(Math.max(1, parts));
      work.launch(FloatKernels.squareParts(Work.at(x), part));
      return total(part, parts);
    }
  }

  private double total(DeviceBuffer doubles, int count) {
    DeviceBuffer sum = work.doubles(1);
    work.launch(FloatKernels.sumDoubles(doubles, count, sum));
    return staging.readDouble(sum);
  }

  @Override
  public void adamW(AdamWStep step, Tensor gradient, Tensor mean, Tensor square, Tensor weight) {
    same(gradient, weight);
    same(mean, weight);
    same(square, weight);
    work.launch(
        FloatKernels.adamW(
            step, Work.at(gradient), Work.at(mean), Work.at(square), Work.at(weight)));
  }

  @Override
  public void splitColumns(Tensor x_TC, Tensor left, Tensor right) {
    work.launch(
        FloatKernels.splitColumns(
            Work.at(x_TC), Work.at(left), Work.at(right), x_TC.dim(0), left.dim(1), right.dim(1)));
  }

  @Override
  public void joinColumns(Tensor left, Tensor right, Tensor x_TC) {
    work.launch(
        FloatKernels.joinColumns(
            Work.at(left), Work.at(right), Work.at(x_TC), x_TC.dim(0), left.dim(1), right.dim(1)));
  }

  @Override
  public void gatherRows(Tensor x_TC, int[] rows, Tensor y_SC) {
    work.launch(
        FloatKernels.gatherRows(
            Work.at(x_TC), staging.indices(rows), Work.at(y_SC), rows.length, x_TC.dim(1)));
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
    int m = a.dim(transposeA ? 1 : 0);
    int k = a.dim(transposeA ? 0 : 1);
    int n = b.dim(transposeB ? 0 : 1);
    if (b.dim(transposeB ? 1 : 0) != k || c.dim(0) != m || c.dim(1) != n) {
      throw new IllegalArgumentException(
          "a product of %s%s and %s%s into %s"
              .formatted(a, transposeA ? "ᵀ" : "", b, transposeB ? "ᵀ" : "", c));
    }
    if (k == 0) {
      axpby(0, c, beta, c);
      return;
    }
    try (Arena.Scope _ = work.open()) {
      Operand left = work.operand(Work.at(a), a.dim(1), 0);
      Operand right = a == b ? left : work.operand(Work.at(b), b.dim(1), 0);
      work.multiply(
          new Sizes(transposeA, transposeB, m, n, k, 1),
          alpha,
          left,
          right,
          beta,
          Work.result(Work.at(c), n, 0));
    }
  }

  @Override
  public void groupedLinear(Tensor x_SI, Tensor w_EOI, int[] rows_E, Tensor y_SO) {
    Optional<GroupedGemm.Sizes> grouped = grouped(x_SI.dim(0), w_EOI);
    if (grouped.isEmpty()) {
      Backend.super.groupedLinear(x_SI, w_EOI, rows_E, y_SO);
      return;
    }
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer y = work.bf16(y_SO.size());
      work.launch(
          GroupedGemm.forward(
              chip.multiprocessors,
              grouped.get(),
              work.rounded(Work.at(x_SI)),
              work.rounded(Work.at(w_EOI)),
              staging.indices(offsets(rows_E)),
              y));
      work.launch(FloatKernels.fromBf16(y, Work.at(y_SO)));
    }
  }

  @Override
  public void groupedLinearBackwardInput(Tensor dy_SO, Tensor w_EOI, int[] rows_E, Tensor dx_SI) {
    Optional<GroupedGemm.Sizes> grouped = grouped(dy_SO.dim(0), w_EOI);
    if (grouped.isEmpty()) {
      Backend.super.groupedLinearBackwardInput(dy_SO, w_EOI, rows_E, dx_SI);
      return;
    }
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer dx = work.bf16(dx_SI.size());
      work.launch(
          GroupedGemm.inputGradient(
              chip.multiprocessors,
              grouped.get(),
              work.rounded(Work.at(dy_SO)),
              work.rounded(Work.at(w_EOI)),
              staging.indices(offsets(rows_E)),
              dx));
      work.launch(FloatKernels.fromBf16(dx, Work.at(dx_SI)));
    }
  }

  @Override
  public void groupedLinearBackwardWeight(Tensor dy_SO, Tensor x_SI, int[] rows_E, Tensor dw_EOI) {
    Optional<GroupedGemm.Sizes> grouped = grouped(dy_SO.dim(0), dw_EOI);
    DeviceBuffer dw = Work.at(dw_EOI);
    if (grouped.isEmpty() || dw.address() % 16 != 0) { // which the copy engine asks for
      Backend.super.groupedLinearBackwardWeight(dy_SO, x_SI, rows_E, dw_EOI);
      return;
    }
    try (Arena.Scope _ = work.open()) {
      work.launch(
          GroupedGemm.weightGradientFloat32(
              chip.multiprocessors,
              grouped.get(),
              work.rounded(Work.at(dy_SO)),
              work.rounded(Work.at(x_SI)),
              staging.indices(offsets(rows_E)),
              dw,
              /* accumulate= */ true));
    }
  }

  /**
   * Sizes when the kernel of all experts can take them; else each expert is a product of its own.
   */
  private Optional<GroupedGemm.Sizes> grouped(int rows, Tensor w_EOI) {
    boolean fits =
        work.precision() == Precision.BF16
            && chip.hopper()
            && rows > 0
            && w_EOI.dim(1) % 8 == 0
            && w_EOI.dim(2) % 8 == 0;
    return fits
        ? Optional.of(new GroupedGemm.Sizes(w_EOI.dim(0), rows, w_EOI.dim(2), w_EOI.dim(1)))
        : Optional.empty();
  }

  private static int[] offsets(int[] rows_E) {
    int[] offsets = new int[rows_E.length + 1];
    for (int e = 0; e < rows_E.length; e++) {
      offsets[e + 1] = offsets[e] + rows_E[e];
    }
    return offsets;
  }

  // Layers.

  @Override
  public void embedding(int[] ids, Tensor w_VH, Tensor y_TH) {
    inVocabulary("token", ids, w_VH.dim(0));
    gatherRows(w_VH, ids, y_TH);
  }

  @Override
  public void embeddingBackward(int[] ids, Tensor dy_TH, Tensor dw_VH) {
    inVocabulary("token", ids, dw_VH.dim(0));
    // Places of a token lie together, in their order: each row of dw has one writer.
    int n = ids.length;
    long[] byToken = new long[n];
    for (int t = 0; t < n; t++) {
      byToken[t] = (long) ids[t] << 32 | t;
    }
    Arrays.sort(byToken);
    // In one upload: n sources, then as many targets and starts as there are different tokens.
    int[] indices = new int[3 * n + 1];
    int targets = 0;
    for (int i = 0; i < n; i++) {
      int id = (int) (byToken[i] >> 32);
      indices[i] = (int) byToken[i];
      if (targets == 0 || id != indices[n + targets - 1]) {
        indices[2 * n + targets] = i;
        indices[n + targets++] = id;
      }
    }
    indices[2 * n + targets] = n;
    DeviceBuffer uploaded = staging.indices(indices);
    work.launch(
        FloatKernels.sumByTarget(
            Work.at(dy_TH),
            uploaded.slice(4L * n, 4L * targets),
            uploaded.slice(8L * n, 4L * targets + 4),
            uploaded.slice(0, 4L * n),
            Work.at(dw_VH),
            targets,
            dw_VH.dim(1)));
  }

  private static void inVocabulary(String what, int[] ids, int vocabulary) {
    for (int id : ids) {
      if (id < 0 || id >= vocabulary) {
        throw new IllegalArgumentException(
            what + " " + id + " is not in the vocabulary of " + vocabulary);
      }
    }
  }

  @Override
  public void rmsNorm(Tensor x_TC, Tensor gain_C, float epsilon, Tensor y_TC, Tensor scale_T) {
    work.launch(
        FloatKernels.rmsNorm(
            Work.at(x_TC),
            Work.at(gain_C),
            epsilon,
            Work.at(y_TC),
            Work.at(scale_T),
            x_TC.dim(0),
            x_TC.dim(1)));
  }

  @Override
  public void rmsNormBackwardInput(
      Tensor dy_TC, Tensor x_TC, Tensor gain_C, Tensor scale_T, Tensor dx_TC, boolean accumulate) {
    work.launch(
        FloatKernels.rmsNormBackwardInput(
            Work.at(dy_TC),
            Work.at(x_TC),
            Work.at(gain_C),
            Work.at(scale_T),
            Work.at(dx_TC),
            x_TC.dim(0),
            x_TC.dim(1),
            accumulate));
  }

  @Override
  public void rmsNormBackwardWeight(Tensor dy_TC, Tensor x_TC, Tensor scale_T, Tensor dgain_C) {
    int rows = x_TC.dim(0);
    int width = x_TC.dim(1);
    int slices = FloatKernels.slices(rows);
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer parts = work.floats((long) slices * width);
      work.launch(
          FloatKernels.rmsNormBackwardWeight(
              Work.at(dy_TC), Work.at(x_TC), Work.at(scale_T), parts, rows, width));
      work.launch(FloatKernels.addSlices(parts, Work.at(dgain_C), slices, width));
    }
  }

  @Override
  public void swiGlu(Tensor gu_TFF, Tensor h_TF) {
    work.launch(FloatKernels.swiGlu(Work.at(gu_TFF), Work.at(h_TF), h_TF.dim(0), h_TF.dim(1)));
  }

  @Override
  public void swiGluBackward(Tensor dh_TF, Tensor gu_TFF, Tensor dgu_TFF) {
    work.launch(
        FloatKernels.swiGluBackward(
            Work.at(dh_TF), Work.at(gu_TFF), Work.at(dgu_TFF), dh_TF.dim(0), dh_TF.dim(1)));
  }

  @Override
  public void rotate(
      Tensor x_TC, int width, int[] positions_T, Tensor cos_PR, Tensor sin_PR, boolean inverse) {
    work.launch(
        FloatKernels.rotate(
            Work.at(x_TC),
            staging.indices(positions_T),
            Work.at(cos_PR),
            Work.at(sin_PR),
            x_TC.dim(0),
            x_TC.dim(1),
            width,
            cos_PR.dim(1),
            inverse));
  }

  @Override
  public void attention(
      AttentionShape shape,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor p_BHTT,
      float[] maxLogit_H) {
    attention.forward(shape, q_TQ, kv_TX, k_TR, out_TO, p_BHTT, maxLogit_H);
  }

  @Override
  public void attentionBackward(
      AttentionShape shape,
      Tensor dout_TO,
      Tensor q_TQ,
      Tensor kv_TX,
      Tensor k_TR,
      Tensor out_TO,
      Tensor p_BHTT,
      Tensor dq_TQ,
      Tensor dkv_TX,
      Tensor dk_TR) {
    attention.backward(shape, dout_TO, q_TQ, kv_TX, k_TR, out_TO, p_BHTT, dq_TQ, dkv_TX, dk_TR);
  }

  @Override
  public void latentAttention(
      AttentionShape shape, Tensor q_BQ, Tensor w_XL, Tensor cache_BPC, int filled, Tensor out_BO) {
    attention.latent(shape, q_BQ, w_XL, cache_BPC, filled, out_BO);
  }

  @Override
  public void route(
      RouterShape shape, Tensor logits_TE, Tensor bias_E, int[] chosen_TK, Tensor weight_TK) {
    if (chosen_TK.length == 0) {
      return;
    }
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer chosen = work.floats(chosen_TK.length); // int32
      work.launch(
          FloatKernels.route(
              shape,
              Work.at(logits_TE),
              Work.at(bias_E),
              chosen,
              Work.at(weight_TK),
              logits_TE.dim(0)));
      staging.read(chosen, chosen_TK);
    }
    for (int expert : chosen_TK) {
      if (expert < 0) {
        throw new ArithmeticException(
            "routing: every score is NaN or taken: the model has diverged");
      }
    }
  }

  @Override
  public void routeBackward(
      RouterShape shape, Tensor dweight_TK, Tensor s_TE, int[] chosen_TK, Tensor dlogits_TE) {
    work.launch(
        FloatKernels.routeBackward(
            shape,
            Work.at(dweight_TK),
            Work.at(s_TE),
            staging.indices(chosen_TK),
            Work.at(dlogits_TE),
            s_TE.dim(0)));
  }

  @Override
  public void combineRows(Tensor x_SC, int[] slot_TK, Tensor weight_TK, Tensor y_TC) {
    int tokens = y_TC.dim(0);
    work.launch(
        FloatKernels.combineRows(
            Work.at(x_SC),
            staging.indices(slot_TK),
            weight_TK == null ? FloatKernels.NONE : Work.at(weight_TK),
            Work.at(y_TC),
            tokens,
            tokens == 0 ? 0 : slot_TK.length / tokens,
            y_TC.dim(1)));
  }

  @Override
  public void combineRowsBackward(
      Tensor dy_TC, Tensor x_SC, int[] slot_TK, Tensor weight_TK, Tensor dx_SC, Tensor dweight_TK) {
    int tokens = dy_TC.dim(0);
    work.launch(
        FloatKernels.combineRowsBackward(
            Work.at(dy_TC),
            Work.at(x_SC),
            staging.indices(slot_TK),
            Work.at(weight_TK),
            Work.at(dx_SC),
            Work.at(dweight_TK),
            slot_TK.length,
            tokens == 0 ? 0 : slot_TK.length / tokens,
            dy_TC.dim(1)));
  }

  @Override
  public double crossEntropy(Tensor logits_TV, int[] targets_T, float gradScale) {
    int rows = logits_TV.dim(0);
    for (int target : targets_T) {
      if (target >= logits_TV.dim(1)) {
        throw new IllegalArgumentException(
            "target " + target + " is not in the vocabulary of " + logits_TV.dim(1));
      }
    }
    if (rows == 0) {
      return 0;
    }
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer loss_T = work.doubles(rows);
      work.launch(
          FloatKernels.crossEntropy(
              Work.at(logits_TV),
              staging.indices(targets_T),
              loss_T,
              rows,
              logits_TV.dim(1),
              gradScale));
      return total(loss_T, rows);
    }
  }

  private static void same(Tensor x, Tensor y) {
    if (x.size() != y.size()) {
      throw new IllegalArgumentException(x + " and " + y + " differ in size");
    }
  }
}
