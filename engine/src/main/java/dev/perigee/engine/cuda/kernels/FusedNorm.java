package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.real;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/**
 * The residual stream between two parts of a block: the sum and its root mean square norm (Zhang
 * and Sennrich) in one pass, forward and backward. Kernels: {@code src/main/cuda/fused_norm.cu}.
 *
 * <p>Legend: T rows, C columns. bf16; scales and the gain's gradient in float32.
 *
 * @param rows T
 * @param width C, divisible by 8, at most 8192
 * @param epsilon added to the mean of squares
 */
public record FusedNorm(int rows, int width, float epsilon) {
  private static final int NARROW = 2048;
  private static final int WIDE = 8192;

  /** Blocks of backward, which each keep a part of the gain's gradient. */
  private static final int BLOCKS = 528; // as many as fit on an H100's or H200's multiprocessors

  /** Checks the sizes. */
  public FusedNorm {
    if (rows < 1 || width < 8 || width > WIDE || width % 8 != 0) {
      throw new IllegalArgumentException(
          "the fused norm takes rows of 8 to "
              + WIDE
              + " columns, a multiple of 8, not "
              + rows
              + " rows of "
              + width);
    }
  }

  /**
   * r = x + residual and y = r · scale · gain with scale = 1 / √(mean r² + ε).
   *
   * @param residual_TC or {@link Dispatch#NONE}: r is x then, and {@code r_TC} is not written
   * @param r_TC,y_TC,scale_T receive results; backward wants r and scale
   */
  public Launch forward(
      DeviceBuffer x_TC,
      DeviceBuffer residual_TC,
      DeviceBuffer gain_C,
      DeviceBuffer r_TC,
      DeviceBuffer y_TC,
      DeviceBuffer scale_T) {
    return launch(
        "fused_norm_forward_" + most(),
        Launch.Dim.of(rows),
        Launch.Dim.of(256),
        address(x_TC),
        address(residual_TC),
        address(gain_C),
        real(epsilon),
        address(r_TC),
        address(y_TC),
        address(scale_T),
        integer(width / 8));
  }

  /** Bytes of backward's scratch memory. */
  public long scratchBytes() {
    return 4L * blocks() * width;
  }

  /**
   * The gradients, which are written, not added.
   *
   * @param dresidual_TC the gradient that reaches r past the norm, or {@link Dispatch#NONE}
   * @param dr_TC receives the gradient of x and of residual
   * @param dgain_C receives float32
   */
  public List<Launch> backward(
      DeviceBuffer dy_TC,
      DeviceBuffer r_TC,
      DeviceBuffer gain_C,
      DeviceBuffer scale_T,
      DeviceBuffer dresidual_TC,
      DeviceBuffer dr_TC,
      DeviceBuffer dgain_C,
      DeviceBuffer scratch) {
    return List.of(
        backwardInput(dy_TC, r_TC, gain_C, scale_T, dresidual_TC, dr_TC, scratch),
        launch(
            "fused_norm_gain",
            Launch.Dim.of((width + 31) / 32),
            new Launch.Dim(32, 8, 1),
            address(scratch),
            address(dgain_C),
            integer(blocks()),
            integer(width)));
  }

  /**
   * {@code dr_TC} alone, which may be {@code dresidual_TC}; what the gain's gradient is made of
   * stays in the scratch memory.
   */
  public Launch backwardInput(
      DeviceBuffer dy_TC,
      DeviceBuffer r_TC,
      DeviceBuffer gain_C,
      DeviceBuffer scale_T,
      DeviceBuffer dresidual_TC,
      DeviceBuffer dr_TC,
      DeviceBuffer scratch) {
    return launch(
        "fused_norm_backward_" + most(),
        Launch.Dim.of(blocks()),
        Launch.Dim.of(256),
        address(dy_TC),
        address(r_TC),
        address(gain_C),
        address(scale_T),
        address(dresidual_TC),
        address(dr_TC),
        address(scratch.slice(0, scratchBytes())),
        integer(rows),
        integer(width / 8));
  }

  private int blocks() {
    return Math.min(rows, BLOCKS);
  }

  private int most() {
    return width <= NARROW ? NARROW : WIDE;
  }

  private Launch launch(
      String kernel, Launch.Dim grid, Launch.Dim block, Launch.Argument... arguments) {
    return new Launch("fused_norm", kernel, grid, block, 0, List.of(arguments), toString());
  }
}
