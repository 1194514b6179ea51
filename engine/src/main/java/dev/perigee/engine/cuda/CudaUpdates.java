package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.AdamWRule;
import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.MuonRule;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/**
 * What the optimizer does to weights and their state. See {@link
 * dev.perigee.engine.backend.Backend} for the letters.
 */
final class CudaUpdates {
  private final Work work;

  CudaUpdates(Work work) {
    this.work = work;
  }

  double sumOfSquares(Tensor x) {
    try (Work.Floats f = work.inFloats()) {
      int parts = FloatKernels.squareParts(x.size());
      DeviceBuffer part = work.doubles(Math.max(1, parts));
      work.launch(FloatKernels.squareParts(f.of(x), part));
      DeviceBuffer sum = work.doubles(1);
      work.launch(FloatKernels.sumDoubles(part, parts, sum));
      return work.staging().readDouble(sum);
    }
  }

  /** One wait for all; tensors that lie back to back are taken together. */
  double sumOfSquares(List<Tensor> xs) {
    List<DeviceBuffer> runs = new ArrayList<>();
    for (Tensor x : xs) {
      DeviceBuffer at = TensorMemory.floats(x);
      DeviceBuffer last = runs.isEmpty() ? null : runs.getLast();
      if (last != null && last.address() + last.bytes() == at.address()) {
        runs.set(runs.size() - 1, new DeviceBuffer(last.address(), last.bytes() + at.bytes()));
      } else if (at.bytes() > 0) {
        runs.add(at);
      }
    }
    if (runs.isEmpty()) {
      return 0;
    }
    try (Arena.Scope _ = work.open()) {
      DeviceBuffer sums = work.doubles(runs.size() + 1L);
      for (int i = 0; i < runs.size(); i++) {
        try (Arena.Scope _ = work.open()) {
          int parts = FloatKernels.squareParts(runs.get(i).bytes() / 4);
          DeviceBuffer part = work.doubles(parts);
          work.launch(FloatKernels.squareParts(runs.get(i), part));
          work.launch(FloatKernels.sumDoubles(part, parts, sums.slice(8L * i, 8)));
        }
      }
      DeviceBuffer total = sums.slice(8L * runs.size(), 8);
      work.launch(FloatKernels.sumDoubles(sums, runs.size(), total));
      return work.staging().readDouble(total);
    }
  }

  void adamW(
      AdamWRule rule, CudaRates rates, Tensor gradient, Tensor mean, Tensor square, Tensor weight) {
    TensorMemory.Numbers weights = TensorMemory.numbers(weight);
    try (Work.Floats f = work.inFloats()) {
      work.launch(
          FloatKernels.adamW(
              rule,
              f.of(gradient),
              f.changed(mean),
              f.changed(square),
              weights.isRounded() ? Work.at(weight) : f.changed(weight),
              weights.isRounded() ? rounded(weight) : FloatKernels.NONE,
              rates.at()));
    }
  }

  /** The rounded copy, which changes together with the weights: it is no older than it was. */
  private static DeviceBuffer rounded(Tensor weight) {
    return TensorMemory.numbers(weight).rounded().slice(2L * weight.offset(), 2L * weight.size());
  }

  /** Returns whether there is a kernel for these, which then takes the step. */
  boolean muon(
      MuonRule s, CudaRates rates, Tensor gradient_BNM, Tensor momentum_BNM, Tensor weight_BNM) {
    int rows = weight_BNM.dim(1);
    int columns = weight_BNM.dim(2);
    TensorMemory.Numbers weights = TensorMemory.numbers(weight_BNM);
    boolean fits =
        work.hopper()
            && weights.isRounded()
            && rows % 8 == 0
            && columns % 8 == 0
            && s.steps() > 0
            && s.coefficients().get(2) != 0
            && isAligned(gradient_BNM)
            && isAligned(momentum_BNM)
            && isAligned(weight_BNM)
            && !Work.isBf16(gradient_BNM)
            && !Work.isBf16(momentum_BNM);
    if (!fits) {
      return false;
    }
    Muon muon =
        new Muon(
            weight_BNM.dim(0),
            rows,
            columns,
            new Muon.Rule(
                s.momentum(),
                s.nesterov(),
                s.steps(),
                s.coefficients().get(0).floatValue(),
                s.coefficients().get(1).floatValue(),
                s.coefficients().get(2).floatValue(),
                (float) s.updateRms(),
                (float) s.weightDecay()));
    try (Arena.Scope _ = work.open()) {
      work.launch(
          muon.step(
              work.multiprocessors(),
              Muon.Gradient.FLOAT32,
              Work.at(gradient_BNM),
              Work.written(momentum_BNM),
              Work.at(weight_BNM),
              rounded(weight_BNM),
              rates.at().slice(0, 8),
              Dispatch.NONE,
              work.bytes(muon.scratchBytes())));
    }
    return true;
  }

  private static boolean isAligned(Tensor x) {
    return x.offset() % 8 == 0; // sixteen bytes of bf16
  }
}
