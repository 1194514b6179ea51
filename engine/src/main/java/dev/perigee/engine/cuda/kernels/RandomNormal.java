package dev.perigee.engine.cuda.kernels;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/** Normal numbers made on the device. Kernel: {@code src/main/cuda/random.cu}. */
public final class RandomNormal {
  private RandomNormal() {}

  /** Fills {@code x} with bf16 numbers of this deviation; the seed decides them. */
  public static Launch fill(DeviceBuffer x, int seed, float deviation) {
    long n = x.bytes() / 2;
    return new Launch(
        "random",
        "random_normal",
        Launch.Dim.of(Math.clamp((n + 511) / 512, 1, 4096)),
        Launch.Dim.of(256),
        0,
        List.of(
            Launch.address(x),
            new Launch.Argument.Int64(n),
            Launch.integer(seed),
            Launch.real(deviation)),
        n + " numbers");
  }
}
