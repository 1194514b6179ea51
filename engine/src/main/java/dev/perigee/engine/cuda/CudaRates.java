package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.tensor.Tensor;

/**
 * Four float32 numbers in the device's memory: learning rate, gradient scale, and AdamW's factors
 * on the mean and on the root of the mean square.
 */
final class CudaRates implements Rates {
  private final Staging staging;
  private final Tensor words;

  CudaRates(Staging staging, Tensor words) {
    this.staging = staging;
    this.words = words;
  }

  /** Where they are. */
  DeviceBuffer at() {
    return TensorMemory.of(words);
  }

  @Override
  public void set(Values v) {
    staging.send(
        new int[] {
          Float.floatToRawIntBits((float) v.learningRate()),
          Float.floatToRawIntBits((float) v.gradientScale()),
          Float.floatToRawIntBits(v.meanRate()),
          Float.floatToRawIntBits(v.rootCorrection())
        },
        at());
  }
}
