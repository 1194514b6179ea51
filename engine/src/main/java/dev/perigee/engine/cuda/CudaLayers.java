package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.kernels.Dispatch;
import dev.perigee.engine.cuda.kernels.FusedNorm;
import dev.perigee.engine.cuda.kernels.FusedRope;
import dev.perigee.engine.cuda.kernels.SwiGlu;
import dev.perigee.engine.tensor.Tensor;

/**
 * Norms, SwiGLU and rotary positions: in one pass over bf16 numbers where their widths allow, else
 * by the plain kernels in float32. See {@link dev.perigee.engine.backend.Backend} for the letters.
 */
final class CudaLayers {
  private static final int WIDEST_NORM = 8192;

  private final Work work;

  CudaLayers(Work work) {
    this.work = work;
  }

  void rmsNorm(Tensor x_TC, Tensor gain_C, float epsilon, Tensor y_TC, Tensor scale_T) {
    int rows = x_TC.dim(0);
    int width = x_TC.dim(1);
    try (Work.Floats f = work.inFloats()) {
      if (isFused(gain_C, x_TC, y_TC)) {
        work.launch(
            new FusedNorm(rows, width, epsilon)
                .forward(
                    Work.at(x_TC),
                    Dispatch.NONE,
                    work.bf16(gain_C),
                    Dispatch.NONE,
                    Work.written(y_TC),
                    Work.written(scale_T)));
        return;
      }
      work.launch(
          FloatKernels.rmsNorm(
              f.of(x_TC), f.of(gain_C), epsilon, f.result(y_TC), f.result(scale_T), rows, width));
    }
  }

  private boolean isFused(Tensor gain_C, Tensor... rows) {
    // A gain lies among other weights: its bf16 copy is where twice its offset is.
    return work.areWide(rows) && gain_C.size() <= WIDEST_NORM && gain_C.offset() % 8 == 0;
  }

  void rmsNormBackwardInput(
      Tensor dy_TC, Tensor x_TC, Tensor gain_C, Tensor scale_T, Tensor dx_TC, boolean accumulate) {
    int rows = x_TC.dim(0);
    int width = x_TC.dim(1);
    try (Work.Floats f = work.inFloats()) {
      if (isFused(gain_C, dy_TC, x_TC, dx_TC)) {
        FusedNorm norm = new FusedNorm(rows, width, /* epsilon, which backward does not read */ 0);
        DeviceBuffer dx = Work.written(dx_TC);
        work.launch(
            norm.backwardInput(
                Work.at(dy_TC),
                Work.at(x_TC),
                work.bf16(gain_C),
                Work.at(scale_T),
                accumulate ? dx : Dispatch.NONE,
                dx,
                work.bytes(norm.scratchBytes())));
        return;
      }
      work.launch(
          FloatKernels.rmsNormBackwardInput(
              f.of(dy_TC),
              f.of(x_TC),
              f.of(gain_C),
              f.of(scale_T),
              accumulate ? f.changed(dx_TC) : f.result(dx_TC),
              rows,
              width,
              accumulate));
    }
  }

  void rmsNormBackwardWeight(Tensor dy_TC, Tensor x_TC, Tensor scale_T, Tensor dgain_C) {
    int rows = x_TC.dim(0);
    int width = x_TC.dim(1);
    int slices = FloatKernels.slices(rows);
    boolean bf16 = Work.areBf16(dy_TC, x_TC);
    try (Work.Floats f = work.inFloats()) {
      DeviceBuffer parts = work.floats((long) slices * width);
      work.launch(
          FloatKernels.rmsNormBackwardWeight(
              bf16,
              bf16 ? Work.at(dy_TC) : f.of(dy_TC),
              bf16 ? Work.at(x_TC) : f.of(x_TC),
              f.of(scale_T),
              parts,
              rows,
              width));
      work.launch(FloatKernels.addSlices(parts, f.changed(dgain_C), slices, width));
    }
  }

  void swiGlu(Tensor gu_TFF, Tensor h_TF) {
    int rows = h_TF.dim(0);
    int width = h_TF.dim(1);
    if (work.areWide(gu_TFF, h_TF)) {
      work.launch(SwiGlu.forward(Work.at(gu_TFF), Work.written(h_TF), rows, width));
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(FloatKernels.swiGlu(f.of(gu_TFF), f.result(h_TF), rows, width));
    }
  }

  void swiGluBackward(Tensor dh_TF, Tensor gu_TFF, Tensor dgu_TFF) {
    int rows = dh_TF.dim(0);
    int width = dh_TF.dim(1);
    if (work.areWide(dh_TF, gu_TFF, dgu_TFF)) {
      try (Arena.Scope _ = work.open()) {
        work.launch(
            SwiGlu.backward(
                Work.at(dh_TF),
                Work.at(gu_TFF),
                Dispatch.NONE,
                Dispatch.NONE,
                Work.written(dgu_TFF),
                work.bf16(dh_TF.size()), // the activation again, which nobody wants here
                Dispatch.NONE,
                rows,
                width));
      }
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.swiGluBackward(f.of(dh_TF), f.of(gu_TFF), f.result(dgu_TFF), rows, width));
    }
  }

  void rotate(
      Tensor x_TC,
      int width,
      DeviceBuffer positions_T,
      Tensor cos_PR,
      Tensor sin_PR,
      boolean inverse) {
    int rows = x_TC.dim(0);
    int columns = x_TC.dim(1);
    int pairs = cos_PR.dim(1);
    if (work.areWide(x_TC) && width % 8 == 0 && pairs % 4 == 0) {
      work.launch(
          new FusedRope(rows, columns / width, width, 2 * pairs)
              .turn(Work.written(x_TC), positions_T, Work.at(cos_PR), Work.at(sin_PR), inverse));
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.rotate(
              f.changed(x_TC),
              positions_T,
              f.of(cos_PR),
              f.of(sin_PR),
              rows,
              columns,
              width,
              pairs,
              inverse));
    }
  }
}
