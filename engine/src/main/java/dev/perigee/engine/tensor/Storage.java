package dev.perigee.engine.tensor;

/** Memory that tensors are views of. */
public sealed interface Storage {
  /** Number of elements. */
  int length();

  /** Float32 numbers on the Java heap. */
  @SuppressWarnings("ArrayRecordComponent") // identity is what is meant: two views share one array
  record HostFloats(float[] values) implements Storage {
    @Override
    public int length() {
      return values.length;
    }
  }
}
