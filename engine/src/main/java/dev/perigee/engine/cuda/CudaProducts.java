package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.cuda.Product.Operand;
import dev.perigee.engine.cuda.Product.Sizes;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.kernels.GroupedGemm;
import dev.perigee.engine.tensor.Tensor;
import java.util.Optional;

/**
 * Products of tensors, dense ones and those of experts; see {@link
 * dev.perigee.engine.backend.Backend} for the letters.
 */
final class CudaProducts {
  private final Work work;

  CudaProducts(Work work) {
    this.work = work;
  }

  void matmul(
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
      try (Work.Floats f = work.inFloats()) {
        DeviceBuffer sum = f.changed(c);
        work.launch(FloatKernels.axpby(0, sum, beta, sum));
      }
      return;
    }
    try (Arena.Scope _ = work.open()) {
      Operand left = work.operand(a, a.dim(1), 0);
      Operand right = a == b ? left : work.operand(b, b.dim(1), 0);
      work.multiply(
          new Sizes(transposeA, transposeB, m, n, k, 1),
          alpha,
          left,
          right,
          beta,
          new Operand(Work.written(c).address(), Work.isBf16(c), n, 0));
    }
  }

  /** Returns whether there is a kernel for all experts at once, which then does it. */
  boolean grouped(Tensor x_SI, Tensor w_EOI, DeviceBuffer offsets_E1, Tensor y_SO) {
    Optional<GroupedGemm.Sizes> sizes = sizes(x_SI.dim(0), w_EOI);
    if (sizes.isEmpty()) {
      return false;
    }
    try (Work.Bf16 b = work.inBf16()) {
      work.launch(
          GroupedGemm.forward(
              work.multiprocessors(),
              sizes.get(),
              b.of(x_SI),
              b.of(w_EOI),
              offsets_E1,
              b.result(y_SO)));
    }
    return true;
  }

  /** The same of the product into gate and up with SwiGLU. */
  boolean groupedSwiGlu(
      Tensor x_SI, Tensor w_EFFI, DeviceBuffer offsets_E1, Tensor gu_SFF, Tensor h_SF) {
    Optional<GroupedGemm.Sizes> sizes = sizes(x_SI.dim(0), w_EFFI);
    if (sizes.isEmpty() || h_SF.dim(1) % 8 != 0) {
      return false;
    }
    try (Work.Bf16 b = work.inBf16()) {
      work.launch(
          GroupedGemm.forwardSwiGlu(
              work.multiprocessors(),
              sizes.get(),
              b.of(x_SI),
              b.of(w_EFFI),
              offsets_E1,
              b.result(gu_SFF),
              b.result(h_SF)));
    }
    return true;
  }

  /** The same of the input's gradient. */
  boolean groupedBackwardInput(Tensor dy_SO, Tensor w_EOI, DeviceBuffer offsets_E1, Tensor dx_SI) {
    Optional<GroupedGemm.Sizes> sizes = sizes(dy_SO.dim(0), w_EOI);
    if (sizes.isEmpty()) {
      return false;
    }
    try (Work.Bf16 b = work.inBf16()) {
      work.launch(
          GroupedGemm.inputGradient(
              work.multiprocessors(),
              sizes.get(),
              b.of(dy_SO),
              b.of(w_EOI),
              offsets_E1,
              b.result(dx_SI)));
    }
    return true;
  }

  /** The same of the weights' gradient. */
  boolean groupedBackwardWeight(Tensor dy_SO, Tensor x_SI, DeviceBuffer offsets_E1, Tensor dw_EOI) {
    Optional<GroupedGemm.Sizes> sizes = sizes(dy_SO.dim(0), dw_EOI);
    if (sizes.isEmpty()
        || Work.isBf16(dw_EOI)
        || Work.at(dw_EOI).address() % 16 != 0) { // which the copy engine asks for
      return false;
    }
    try (Work.Bf16 b = work.inBf16()) {
      work.launch(
          GroupedGemm.weightGradientFloat32(
              work.multiprocessors(),
              sizes.get(),
              b.of(dy_SO),
              b.of(x_SI),
              offsets_E1,
              Work.written(dw_EOI),
              /* accumulate= */ true));
    }
    return true;
  }

  /** Sizes when the kernels can take them; else each expert is a product of its own. */
  private Optional<GroupedGemm.Sizes> sizes(int rows, Tensor w_EOI) {
    boolean fits = work.hopper() && rows > 0 && w_EOI.dim(1) % 8 == 0 && w_EOI.dim(2) % 8 == 0;
    return fits
        ? Optional.of(new GroupedGemm.Sizes(w_EOI.dim(0), rows, w_EOI.dim(2), w_EOI.dim(1)))
        : Optional.empty();
  }
}
