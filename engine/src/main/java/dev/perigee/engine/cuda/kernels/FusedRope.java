package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.real;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/**
 * Rotary positions (RoFormer, equation 34) in place, in bf16: adjacent numbers are pairs. Kernel:
 * {@code src/main/cuda/fused_rope.cu}.
 *
 * <p>Legend: T rows, H heads, D numbers of a head, the last 2 P of which turn, L positions.
 *
 * @param rows T
 * @param heads H
 * @param width D, divisible by 8
 * @param rotated 2 P, divisible by 8
 */
public record FusedRope(int rows, int heads, int width, int rotated) {
  private static final int HEADS_OF_A_THREAD = 4;

  /** Checks the sizes. */
  public FusedRope {
    if (width % 8 != 0 || rotated % 8 != 0 || rotated < 8 || rotated > width) {
      throw new IllegalArgumentException(
          "heads and what turns of them must be multiples of 8, not " + rotated + " of " + width);
    }
    if ((long) rows * heads * rotated / 8 > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          rows + " rows of " + heads + " heads are too many for one launch");
    }
  }

  /**
   * Turns {@code x_THD} by the angles of its rows' positions.
   *
   * @param position_T int32
   * @param cosine_LP,sine_LP float32
   * @param back turns the other way: the gradient
   */
  public Launch turn(
      DeviceBuffer x_THD,
      DeviceBuffer position_T,
      DeviceBuffer cosine_LP,
      DeviceBuffer sine_LP,
      boolean back) {
    int step = (heads + HEADS_OF_A_THREAD - 1) / HEADS_OF_A_THREAD;
    int threads = rows * step * (rotated / 8);
    return new Launch(
        "fused_rope",
        "fused_rope",
        Launch.Dim.of((threads + 255) / 256),
        Launch.Dim.of(256),
        0,
        List.of(
            address(x_THD),
            address(position_T),
            address(cosine_LP),
            address(sine_LP),
            integer(threads),
            integer(heads),
            integer(step),
            integer(width / 8),
            integer(rotated / 8),
            real(back ? -1 : 1)),
        toString());
  }
}
