package dev.perigee.engine.cuda.driver;

import java.util.List;

/**
 * One kernel launch as data, so that what decides its shape is a pure function with plain tests.
 *
 * @param module the file in {@code src/main/cuda} without its ending
 * @param kernel its entry point
 * @param sharedBytes dynamic shared memory of a block
 * @param arguments in the kernel's order
 * @param sizes for error messages: the operation's sizes in words
 */
public record Launch(
    String module,
    String kernel,
    Dim grid,
    Dim block,
    int sharedBytes,
    List<Argument> arguments,
    String sizes) {

  /** Extent of a grid in blocks, or of a block in threads. */
  public record Dim(int x, int y, int z) {
    /** One dimension. */
    public static Dim of(int x) {
      return new Dim(x, 1, 1);
    }
  }

  /** A kernel's argument. */
  public sealed interface Argument {
    /** A device address. */
    record Address(long value) implements Argument {}

    /** A 32-bit integer. */
    record Int32(int value) implements Argument {}

    /** A 64-bit integer. */
    record Int64(long value) implements Argument {}

    /** A float32. */
    record Float32(float value) implements Argument {}

    /** A tensor map, passed by value. */
    record Map(TensorMap value) implements Argument {}

    /**
     * The address of a 32-bit integer of the stream that runs the kernel, by which the kernel's
     * blocks share out their work. It is zero when a kernel begins and when it ends.
     */
    record Tickets() implements Argument {}
  }

  /** Copies the list. */
  public Launch {
    arguments = List.copyOf(arguments);
  }

  /** An address argument. */
  public static Argument address(DeviceBuffer buffer) {
    return new Argument.Address(buffer.address());
  }

  /** An integer argument. */
  public static Argument integer(int value) {
    return new Argument.Int32(value);
  }

  /** A float32 argument. */
  public static Argument real(float value) {
    return new Argument.Float32(value);
  }

  /** A tensor map argument. */
  public static Argument map(TensorMap value) {
    return new Argument.Map(value);
  }

  /** The stream's tickets as an argument. */
  public static Argument tickets() {
    return new Argument.Tickets();
  }

  /** As error messages name it. */
  @Override
  public String toString() {
    return kernel
        + " ("
        + sizes
        + "), grid "
        + text(grid)
        + ", block "
        + text(block)
        + ", "
        + sharedBytes
        + " bytes of shared memory";
  }

  private static String text(Dim d) {
    return d.x + "x" + d.y + "x" + d.z;
  }
}
