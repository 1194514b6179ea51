package dev.perigee.engine.cuda.driver;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Locale;

/**
 * A tensor of three dimensions as Hopper's copy engine sees it: boxes of it move between device and
 * shared memory with the 128-byte swizzle, and what lies outside reads as zero and is not written.
 * JCuda has no call that encodes one, so it goes through {@code java.lang.foreign}.
 *
 * @param address of the first element, divisible by 16
 * @param x,y,z extents in elements, x the contiguous one
 * @param strideY,strideZ in bytes, divisible by 16
 * @param boxX,boxY extents of a box in elements; its z extent is 1, and boxX must be 128 bytes
 * @param element the elements' type
 */
public record TensorMap(
    long address,
    long x,
    long y,
    long z,
    long strideY,
    long strideZ,
    int boxX,
    int boxY,
    Element element) {
  /** Types of elements. */
  public enum Element {
    /** bfloat16. */
    BF16(2, 9),
    /** IEEE single precision: what the copy engine can also add. */
    FLOAT32(4, 7);

    private final int bytes;
    private final int code;

    Element(int bytes, int code) {
      this.bytes = bytes;
      this.code = code;
    }
  }

  /** Size of an encoded map. */
  static final int BYTES = 128;

  private static final int SWIZZLE_128B = 3;
  private static final int PROMOTE_256B = 3;

  /** Checks what the hardware demands. */
  public TensorMap {
    if (address % 16 != 0 || strideY % 16 != 0 || strideZ % 16 != 0) {
      throw new IllegalArgumentException(
          "a tensor map needs address and strides divisible by 16 bytes, not address "
              + address
              + ", strides "
              + strideY
              + " and "
              + strideZ
              + "; make row lengths multiples of 8 elements");
    }
    if (boxX * element.bytes != 128 || boxY < 1 || boxY > 256) {
      throw new IllegalArgumentException(
          "a tensor map's box is 128 bytes by at most 256 elements, not "
              + boxX
              + " "
              + element
              + " by "
              + boxY);
    }
  }

  /** A map of bf16 elements. */
  public TensorMap(
      long address, long x, long y, long z, long strideY, long strideZ, int boxX, int boxY) {
    this(address, x, y, z, strideY, strideZ, boxX, boxY, Element.BF16);
  }

  /** Row-major bf16 matrices one after the other: [count, rows, columns]. */
  public static TensorMap of(DeviceBuffer buffer, long count, long rows, long columns, int boxY) {
    return of(Element.BF16, buffer, count, rows, columns, boxY);
  }

  /** The same of float32 numbers. */
  public static TensorMap ofFloats(
      DeviceBuffer buffer, long count, long rows, long columns, int boxY) {
    return of(Element.FLOAT32, buffer, count, rows, columns, boxY);
  }

  /**
   * Rows of bf16 matrices of unequal heights, one right after the other, each with its own end: the
   * box at row r of a matrix of n rows that begins at row f lies at y = rows - n + r and z = f + n.
   * From the matrix's end on y is outside. Without such a map the next matrix's rows would be read,
   * and written.
   *
   * @param buffer rows of all matrices, {@code rows} at most
   * @param columns of a row
   * @param stride from row to row, in elements
   */
  public static TensorMap ragged(
      DeviceBuffer buffer, long rows, long columns, long stride, int boxY) {
    long rowBytes = stride * Element.BF16.bytes;
    if ((rows - 1) * rowBytes + columns * Element.BF16.bytes > buffer.bytes()) {
      throw new IllegalArgumentException(
          rows
              + " rows of "
              + columns
              + " bf16 numbers, each "
              + stride
              + " after the one before, do not fit into a buffer of "
              + buffer.bytes()
              + " bytes");
    }
    // y and z both step by a row; what y is ahead, this address is behind. Nothing there is
    // touched.
    return new TensorMap(
        buffer.address() - rows * rowBytes,
        columns,
        rows,
        rows + 1,
        rowBytes,
        rowBytes,
        64,
        boxY,
        Element.BF16);
  }

  private static TensorMap of(
      Element element, DeviceBuffer buffer, long count, long rows, long columns, int boxY) {
    long rowBytes = columns * element.bytes;
    if (count * rows * rowBytes > buffer.bytes()) {
      throw new IllegalArgumentException(
          count
              + " "
              + element.name().toLowerCase(Locale.ROOT)
              + " matrices of "
              + rows
              + " x "
              + columns
              + " do not fit into a buffer of "
              + buffer.bytes()
              + " bytes");
    }
    return new TensorMap(
        buffer.address(),
        columns,
        rows,
        count,
        rowBytes,
        rows * rowBytes,
        128 / element.bytes,
        boxY,
        element);
  }

  /** The memory whose elements a box may read or write. */
  public DeviceBuffer reach() {
    boolean ragged = z == y + 1 && strideZ == strideY;
    long ahead = ragged ? y * strideY : 0;
    long planes = ragged ? 1 : z;
    return new DeviceBuffer(
        address + ahead, (planes - 1) * strideZ + (y - 1) * strideY + x * element.bytes);
  }

  /** The driver's 128 bytes. */
  byte[] encode() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment map = arena.allocate(BYTES, 64);
      int rc =
          (int)
              Driver.ENCODE.invokeExact(
                  map,
                  element.code,
                  3,
                  MemorySegment.ofAddress(address),
                  arena.allocateFrom(JAVA_LONG, x, y, z),
                  arena.allocateFrom(JAVA_LONG, strideY, strideZ),
                  arena.allocateFrom(JAVA_INT, boxX, boxY, 1),
                  arena.allocateFrom(JAVA_INT, 1, 1, 1),
                  /* interleave */ 0,
                  SWIZZLE_128B,
                  PROMOTE_256B,
                  /* fill of what lies outside: zero */ 0);
      Device.check(rc, "cuTensorMapEncodeTiled", this);
      return map.toArray(JAVA_BYTE);
    } catch (RuntimeException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("cuTensorMapEncodeTiled", e);
    }
  }

  /** Loaded with the first map that is encoded. */
  private static final class Driver {
    static final MethodHandle ENCODE =
        DriverLibrary.load()
            .orElseThrow(() -> new CudaException(DriverLibrary.NAME + " is not on this machine"))
            .function(
                "cuTensorMapEncodeTiled",
                FunctionDescriptor.of(
                    JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS,
                    ADDRESS, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT));
  }
}
