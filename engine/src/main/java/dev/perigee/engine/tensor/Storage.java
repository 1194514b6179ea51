package dev.perigee.engine.tensor;

/** Memory that tensors are views of. */
public sealed interface Storage {
  /** Number of elements. */
  int length();

  /** Bytes of an element: 4 for float32, 2 for bf16. */
  default int width() {
    return Float.BYTES;
  }

  /** Float32 numbers on the Java heap. */
  @SuppressWarnings("ArrayRecordComponent") // identity is what is meant: two views share one array
  record HostFloats(float[] values) implements Storage {
    @Override
    public int length() {
      return values.length;
    }
  }

  /**
   * Numbers in a device's memory, float32 or rounded to bf16: only a backend computes with them,
   * and float32 is what goes in and comes out.
   */
  non-sealed interface DeviceFloats extends Storage {
    /** Copies {@code count} numbers from {@code from} on to {@code to} at {@code at}. */
    void read(int from, float[] to, int at, int count);

    /** Copies {@code count} numbers of {@code from} at {@code at} to {@code to} on. */
    void write(float[] from, int at, int to, int count);

    /** Copies {@code count} numbers of {@code from} at {@code at} to {@code to} on. */
    default void copy(DeviceFloats from, int at, int to, int count) {
      float[] values = new float[count];
      from.read(at, values, 0, count);
      write(values, 0, to, count);
    }
  }
}
