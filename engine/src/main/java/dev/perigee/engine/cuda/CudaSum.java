package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Sum;
import dev.perigee.engine.tensor.Tensor;

/** A float64 number in the device's memory. */
final class CudaSum implements Sum {
  private final Work work;
  private final Tensor words; // two, of 32 bits

  CudaSum(Work work, Tensor words) {
    this.work = work;
    this.words = words;
    clear();
  }

  /** Where it is. */
  DeviceBuffer at() {
    return TensorMemory.of(words);
  }

  @Override
  public void clear() {
    work.queue().fill(at(), (byte) 0);
  }

  @Override
  public double value() {
    return work.staging().readDouble(at());
  }
}
