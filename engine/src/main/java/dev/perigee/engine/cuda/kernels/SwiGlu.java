package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/**
 * a = silu(gate) · up and its gradient. An expert layer's forward is {@link
 * GroupedGemm#forwardSwiGlu}. Kernels: {@code src/main/cuda/swiglu.cu}.
 */
public final class SwiGlu {
  private SwiGlu() {}

  /**
   * a from h.
   *
   * @param h_SG gate and up, bf16
   * @param a_SF receives bf16
   * @param width F, divisible by 8
   */
  public static Launch forward(DeviceBuffer h_SG, DeviceBuffer a_SF, int rows, int width) {
    check(width);
    return new Launch(
        "swiglu",
        "swiglu_forward",
        Launch.Dim.of((rows + 7) / 8),
        Launch.Dim.of(256),
        0,
        List.of(address(h_SG), address(a_SF), integer(rows), integer(width / 8)),
        rows + " rows of " + width);
  }

  private static void check(int width) {
    if (width % 8 != 0) {
      throw new IllegalArgumentException(
          "a feed-forward width must be divisible by 8, not " + width);
    }
  }

  /**
   * The gradient through weighted rows: the layer's output is Σ weight · (a · w2ᵀ).
   *
   * @param u_SF dout · w2: the gradient of a before the weight, bf16
   * @param h_SG gate and up, bf16
   * @param order_S the assignment of each row, or {@link Dispatch#NONE}: the weights are one
   * @param weight by assignment, float32
   * @param dh_SG receives the gradient of h, bf16
   * @param scaled_SF receives weight · a, bf16
   * @param dweight receives u · a by assignment, float32
   * @param width F, divisible by 8
   */
  public static Launch backward(
      DeviceBuffer u_SF,
      DeviceBuffer h_SG,
      DeviceBuffer order_S,
      DeviceBuffer weight,
      DeviceBuffer dh_SG,
      DeviceBuffer scaled_SF,
      DeviceBuffer dweight,
      int rows,
      int width) {
    check(width);
    return new Launch(
        "swiglu",
        "swiglu_backward",
        Launch.Dim.of((rows + 7) / 8),
        Launch.Dim.of(256),
        0,
        List.of(
            address(u_SF),
            address(h_SG),
            address(order_S),
            address(weight),
            address(dh_SG),
            address(scaled_SF),
            address(dweight),
            integer(rows),
            integer(width / 8)),
        rows + " rows of " + width);
  }
}
