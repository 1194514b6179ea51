package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.real;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/**
 * AdamW (Loshchilov and Hutter, algorithm 2) in one pass over bf16 gradients, float32 moments and
 * master weights, and weights rounded to bf16. Kernel: {@code src/main/cuda/fused_adamw.cu}.
 *
 * @param beta1,beta2 decay of the moments
 * @param epsilon added to the root of the second moment
 * @param weightDecay λ
 */
public record FusedAdamW(float beta1, float beta2, float epsilon, float weightDecay) {
  /**
   * One update of N numbers.
   *
   * @param gradient_N bf16
   * @param mean_N,square_N,master_N float32, changed
   * @param weight_N receives bf16
   * @param step four numbers in float32, read when it runs: learning rate, gradient scale, 1 − β₁ᵗ,
   *     1 − β₂ᵗ
   */
  public Launch update(
      DeviceBuffer gradient_N,
      DeviceBuffer mean_N,
      DeviceBuffer square_N,
      DeviceBuffer master_N,
      DeviceBuffer weight_N,
      DeviceBuffer step) {
    long n = gradient_N.bytes() / 2;
    if (n % 4 != 0 || master_N.bytes() != 4 * n) {
      throw new IllegalArgumentException(
          "AdamW updates a multiple of 4 numbers, not "
              + n
              + " with "
              + master_N.bytes()
              + " bytes of float32 weights");
    }
    return new Launch(
        "fused_adamw",
        "fused_adamw",
        Launch.Dim.of(Math.clamp((n / 4 + 511) / 512, 1, 1 << 16)),
        Launch.Dim.of(256),
        0,
        List.of(
            address(gradient_N),
            address(mean_N),
            address(square_N),
            address(master_N),
            address(weight_N),
            address(step),
            new Launch.Argument.Int64(n / 4),
            real(beta1),
            real(beta2),
            real(epsilon),
            real(weightDecay)),
        n + " numbers");
  }
}
