package dev.perigee.engine.tensor;

import java.util.Arrays;
import java.util.Objects;

/**
 * A dense row-major array of numbers: a view (offset and shape) of a {@link Storage}. Code above
 * the {@code Backend} passes tensors around without looking inside; only a backend and code that
 * moves data in and out touches the numbers. Names of tensors end in their shape, for example
 * {@code x_TH} for tokens × hidden.
 */
public final class Tensor {
  private final Storage storage;
  private final int offset;
  private final int[] shape;
  private final int size;

  /**
   * A view.
   *
   * @param offset of the first element in the storage, in elements
   * @param shape row-major, the last dimension contiguous
   * @throws IllegalArgumentException when the view does not fit into the storage
   */
  public Tensor(Storage storage, int offset, int... shape) {
    this.storage = Objects.requireNonNull(storage, "storage");
    this.offset = offset;
    this.shape = shape.clone();
    long n = 1;
    for (int d : shape) {
      n = Math.multiplyExact(n, d);
    }
    if (offset < 0 || n < 0 || offset + n > storage.length()) {
      throw new IllegalArgumentException(
          "a view of shape "
              + Arrays.toString(shape)
              + " at "
              + offset
              + " does not fit into a storage of "
              + storage.length()
              + " elements");
    }
    this.size = (int) n;
  }

  /** A new float32 tensor of zeros on the Java heap. */
  public static Tensor zeros(int... shape) {
    int n = 1;
    for (int d : shape) {
      n = Math.multiplyExact(n, d);
    }
    return new Tensor(new Storage.HostFloats(new float[n]), 0, shape);
  }

  /** A tensor over the given numbers, which it shares. */
  public static Tensor of(float[] values, int... shape) {
    return new Tensor(new Storage.HostFloats(values), 0, shape);
  }

  /** Where the numbers are. */
  public Storage storage() {
    return storage;
  }

  /** Offset of the first element in the storage, in elements. */
  public int offset() {
    return offset;
  }

  /** A copy of the shape. */
  public int[] shape() {
    return shape.clone();
  }

  /** Size of dimension {@code i}; negative counts from the end. */
  public int dim(int i) {
    return shape[i < 0 ? shape.length + i : i];
  }

  /** Number of dimensions. */
  public int rank() {
    return shape.length;
  }

  /** Number of elements. */
  public int size() {
    return size;
  }

  /** The same elements under another shape of the same size. */
  public Tensor view(int... newShape) {
    Tensor view = new Tensor(storage, offset, newShape);
    if (view.size != size) {
      throw new IllegalArgumentException(
          "cannot view " + Arrays.toString(shape) + " as " + Arrays.toString(newShape));
    }
    return view;
  }

  /** The sub-tensor of {@code count} entries from {@code first} along the first dimension. */
  public Tensor slice(int first, int count) {
    if (first < 0 || count < 0 || first + count > shape[0]) {
      throw new IllegalArgumentException(
          "entries " + first + " to " + (first + count) + " of a first dimension of " + shape[0]);
    }
    int[] sub = shape.clone();
    sub[0] = count;
    int stride = shape[0] == 0 ? 0 : size / shape[0];
    return new Tensor(storage, offset + first * stride, sub);
  }

  /**
   * The numbers themselves, from {@link #offset()}, when they are on the host.
   *
   * @throws IllegalStateException when they are not; see {@link #onHost}
   */
  public float[] floats() {
    if (storage instanceof Storage.HostFloats host) {
      return host.values();
    }
    throw new IllegalStateException("this tensor is not on the host: " + this);
  }

  /** Whether {@link #floats} has the numbers. */
  public boolean isOnHost() {
    return storage instanceof Storage.HostFloats;
  }

  /** This tensor when it is on the host, else a copy of it there. */
  public Tensor onHost() {
    return switch (storage) {
      case Storage.HostFloats _ -> this;
      case Storage.DeviceFloats device -> {
        float[] values = new float[size];
        device.read(offset, values, 0, size);
        yield of(values, shape);
      }
    };
  }

  /**
   * Takes the numbers of {@code other}, which has the same size, wherever the two are. Together
   * with {@link #onHost} it changes numbers wherever they are: {@code h = x.onHost()}, then changes
   * to h, then {@code x.assign(h)}, which copies nothing when x is on the host itself.
   */
  @SuppressWarnings("ReferenceEquality") // whether two views share one array
  public void assign(Tensor other) {
    if (other.size != size) {
      throw new IllegalArgumentException(this + " cannot take the numbers of " + other);
    }
    switch (storage) {
      case Storage.HostFloats mine -> {
        switch (other.storage) {
          case Storage.HostFloats theirs -> {
            if (mine.values() != theirs.values() || offset != other.offset) {
              System.arraycopy(theirs.values(), other.offset, mine.values(), offset, size);
            }
          }
          case Storage.DeviceFloats theirs ->
              theirs.read(other.offset, mine.values(), offset, size);
        }
      }
      case Storage.DeviceFloats mine -> {
        switch (other.storage) {
          case Storage.HostFloats theirs -> mine.write(theirs.values(), other.offset, offset, size);
          case Storage.DeviceFloats theirs -> mine.copy(theirs, other.offset, offset, size);
        }
      }
    }
  }

  @Override
  public String toString() {
    return "Tensor" + Arrays.toString(shape);
  }
}
