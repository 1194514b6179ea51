package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.ExpertRows;
import dev.perigee.engine.backend.RouterShape;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.kernels.Dispatch;
import dev.perigee.engine.tensor.Tensor;

/**
 * Routing and the rows that move because of it; nothing here waits for the device. See {@link
 * dev.perigee.engine.backend.Backend} for the letters.
 */
final class CudaExperts {
  private static final int MOST_CHOSEN = 32; // lanes of a warp
  private static final int MOST_EXPERTS = 1024;

  private final Work work;

  CudaExperts(Work work) {
    this.work = work;
  }

  void route(
      RouterShape shape,
      Tensor logits_TE,
      Tensor bias_E,
      DeviceBuffer chosen_TK,
      Tensor weight_TK) {
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.route(
              shape,
              f.changed(logits_TE),
              f.of(bias_E),
              chosen_TK,
              f.result(weight_TK),
              logits_TE.dim(0)));
    }
  }

  void routeBackward(
      RouterShape shape,
      Tensor dweight_TK,
      Tensor s_TE,
      DeviceBuffer chosen_TK,
      Tensor dlogits_TE) {
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.routeBackward(
              shape, f.of(dweight_TK), f.of(s_TE), chosen_TK, f.result(dlogits_TE), s_TE.dim(0)));
    }
  }

  /** Whether {@link #plan} can sort so many. */
  static boolean canPlan(int tokens, int experts, int chosen) {
    return tokens > 0 && experts <= MOST_EXPERTS && chosen <= MOST_CHOSEN;
  }

  /** Fills in where the rows of chosen experts go; see {@link ExpertRows}. */
  void plan(
      int tokens,
      int experts,
      int chosen,
      DeviceBuffer expert_TK,
      DeviceBuffer offsets_E1,
      DeviceBuffer slot_TK,
      DeviceBuffer pair_S) {
    Dispatch dispatch = new Dispatch(tokens, experts, chosen);
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer scratch = work.bytes(dispatch.scratchBytes());
      work.launch(dispatch.plan(expert_TK, scratch, offsets_E1, slot_TK, pair_S));
    }
  }

  void countRows(DeviceBuffer offsets_E1, Tensor count_E) {
    work.launch(FloatKernels.countRows(offsets_E1, Work.written(count_E), count_E.size()));
  }

  void gatherRows(Tensor x_TC, DeviceBuffer rows, int count, Tensor y_SC) {
    int width = x_TC.dim(1);
    if (areWords(x_TC, y_SC)) {
      work.launch(
          FloatKernels.gatherRows(Work.at(x_TC), rows, Work.written(y_SC), count, width / 2));
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(FloatKernels.gatherRows(f.of(x_TC), rows, f.result(y_SC), count, width));
    }
  }

  void spreadRows(Tensor x_TC, DeviceBuffer slot_TK, int pairs, Tensor y_SC) {
    int tokens = x_TC.dim(0);
    int width = x_TC.dim(1);
    int chosen = tokens == 0 ? 1 : pairs / tokens;
    if (work.areWide(x_TC, y_SC) && chosen <= MOST_CHOSEN) {
      work.launch(
          new Dispatch(tokens, 1, chosen)
              .rowsToExperts(work.hopper(), Work.at(x_TC), slot_TK, Work.written(y_SC), width));
      return;
    }
    if (areWords(x_TC, y_SC)) {
      work.launch(
          FloatKernels.spreadRows(
              Work.at(x_TC), slot_TK, Work.written(y_SC), pairs, chosen, width / 2));
      return;
    }
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.spreadRows(f.of(x_TC), slot_TK, f.changed(y_SC), pairs, chosen, width));
    }
  }

  /** Whether rows of bf16 can move as words of 32 bits. */
  static boolean areWords(Tensor... rows) {
    for (Tensor x : rows) {
      if (!Work.isBf16(x) || x.dim(-1) % 2 != 0 || x.offset() % 2 != 0) {
        return false;
      }
    }
    return true;
  }

  void combineRows(Tensor x_SC, DeviceBuffer slot_TK, int pairs, Tensor weight_TK, Tensor y_TC) {
    int tokens = y_TC.dim(0);
    int width = y_TC.dim(1);
    int chosen = tokens == 0 ? 0 : pairs / tokens;
    try (Work.Floats f = work.inFloats()) {
      DeviceBuffer weight = weight_TK == null ? FloatKernels.NONE : f.of(weight_TK);
      if (work.areWide(x_SC, y_TC) && chosen <= MOST_CHOSEN) {
        DeviceBuffer y = Work.written(y_TC);
        work.launch(
            new Dispatch(tokens, 1, chosen)
                .combine(Work.at(x_SC), slot_TK, weight, y, Dispatch.NONE, y, width));
        return;
      }
      work.launch(
          FloatKernels.combineRows(
              f.of(x_SC), slot_TK, weight, f.changed(y_TC), tokens, chosen, width));
    }
  }

  void combineRowsBackward(
      Tensor dy_TC,
      Tensor x_SC,
      DeviceBuffer slot_TK,
      int pairs,
      Tensor weight_TK,
      Tensor dx_SC,
      Tensor dweight_TK) {
    int tokens = dy_TC.dim(0);
    int width = dy_TC.dim(1);
    int chosen = tokens == 0 ? 0 : pairs / tokens;
    try (Work.Floats f = work.inFloats()) {
      DeviceBuffer weight = f.of(weight_TK);
      DeviceBuffer dweight = f.result(dweight_TK);
      if (work.areWide(dy_TC, x_SC, dx_SC)) {
        work.launch(
            FloatKernels.combineRowsBackwardBf16(
                Work.at(dy_TC),
                Work.at(x_SC),
                slot_TK,
                weight,
                Work.written(dx_SC),
                dweight,
                pairs,
                chosen,
                width));
        return;
      }
      work.launch(
          FloatKernels.combineRowsBackward(
              f.of(dy_TC),
              f.of(x_SC),
              slot_TK,
              weight,
              f.result(dx_SC),
              dweight,
              pairs,
              chosen,
              width));
    }
  }
}
