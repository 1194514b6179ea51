package dev.perigee.engine.cuda;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;

/**
 * Indices in the device's memory: a slot, or as long as the region of the arena lasts that they
 * were taken in.
 */
final class CudaIndices implements Indices.Slot {
  private final Tensor words;
  private final Staging staging;
  private int[] host; // null until somebody asks, unless they came from the host
  private Staging.Coming coming; // null unless they are on their way to the host

  private CudaIndices(Tensor words, Staging staging, int[] host) {
    this.words = words;
    this.staging = staging;
    this.host = host;
  }

  /** What a kernel writes, or will have written, into {@code words} of 32 bits. */
  static CudaIndices computed(Tensor words, Staging staging) {
    return new CudaIndices(words, staging, null);
  }

  /** What is copied from the host into {@code words} of 32 bits. */
  static CudaIndices sent(int[] values, Tensor words, Staging staging) {
    staging.send(values, TensorMemory.of(words));
    return new CudaIndices(words, staging, values);
  }

  @Override
  public void set(int... values) {
    Slot.check(size(), values);
    staging.send(values, at());
    host = values.clone();
  }

  /** Where they are. */
  DeviceBuffer at() {
    return TensorMemory.of(words);
  }

  @Override
  public int size() {
    return words.size();
  }

  @Override
  public void fetch() {
    if (host == null && coming == null) {
      coming = staging.fetch(at());
    }
  }

  @Override
  public int[] onHost() {
    if (host == null) {
      int[] values = new int[size()];
      if (coming == null) {
        staging.read(at(), values);
      } else {
        staging.take(coming, values);
        coming = null;
      }
      host = values;
    }
    return host;
  }
}
