package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.tensor.Tensor;

/**
 * The loss, from logits or together with the product that makes them. See {@link
 * dev.perigee.engine.backend.Backend} for the letters.
 */
final class CudaHead {
  /** Smaller vocabularies' logits take little memory, and tiles of 256 columns would be empty. */
  private static final int SMALLEST_FUSED = 4096;

  private static final int CHUNK = 2048;

  private final Work work;

  CudaHead(Work work) {
    this.work = work;
  }

  void crossEntropy(Tensor logits_TV, DeviceBuffer targets_T, float gradScale, CudaSum loss) {
    int rows = logits_TV.dim(0);
    try (Work.Floats f = work.inFloats()) {
      DeviceBuffer loss_T = work.doubles(rows);
      work.launch(
          FloatKernels.crossEntropy(
              f.changed(logits_TV), targets_T, loss_T, rows, logits_TV.dim(1), gradScale));
      work.launch(FloatKernels.addDoubles(loss_T, rows, loss.at()));
    }
  }

  /** Whether {@link #linearCrossEntropy} can take these. */
  boolean isFused(Tensor x_TH, Tensor w_VH) {
    return work.areWide(x_TH)
        && w_VH.dim(0) >= SMALLEST_FUSED
        && w_VH.dim(0) % 8 == 0
        && w_VH.offset() % 8 == 0;
  }

  void linearCrossEntropy(
      Tensor x_TH,
      Tensor w_VH,
      DeviceBuffer targets_T,
      float gradScale,
      Tensor dx_TH,
      Tensor dw_VH,
      CudaSum loss) {
    int tokens = x_TH.dim(0);
    LinearCrossEntropy.Sizes z =
        new LinearCrossEntropy.Sizes(tokens, x_TH.dim(1), w_VH.dim(0), CHUNK);
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer offsets = work.staging().constants(z.offsets());
      DeviceBuffer loss_T = work.floats(tokens);
      work.launch(
          new LinearCrossEntropy(z, work.bytes(z.workingBytes()), offsets)
              .lossAndGradients(
                  work.multiprocessors(),
                  Work.at(x_TH),
                  work.bf16(w_VH),
                  targets_T,
                  gradScale,
                  loss_T,
                  Work.written(dx_TH),
                  Work.written(dw_VH),
                  /* accumulate= */ true));
      work.launch(FloatKernels.addFloats(loss_T, loss.at()));
    }
  }
}
