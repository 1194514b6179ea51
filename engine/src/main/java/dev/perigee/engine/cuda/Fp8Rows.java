package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;

import dev.perigee.engine.backend.Fp8;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/**
 * Rows of activations in eight bits and back, bit for bit as {@link Fp8} packs them. Kernels:
 * {@code src/main/cuda/fp8_rows.cu}.
 *
 * @param rows of numbers
 * @param width numbers in a row; packed, they are {@link Fp8#packedWidth} words
 * @param bf16 whether the numbers are bf16, else float32
 */
record Fp8Rows(int rows, int width, boolean bf16) {
  private static final int THREADS = 256;
  private static final int MOST_BLOCKS = 1 << 14;

  /** Packs {@code x}. */
  Launch pack(DeviceBuffer x, DeviceBuffer packed) {
    long warps = (long) rows * Math.ceilDiv(width, Fp8.BLOCK);
    return launch("pack", 32 * warps, x, packed);
  }

  /** The way back. */
  Launch unpack(DeviceBuffer packed, DeviceBuffer x) {
    return launch("unpack", (long) rows * Math.ceilDiv(width, 4), packed, x);
  }

  private Launch launch(String what, long threads, DeviceBuffer from, DeviceBuffer to) {
    return new Launch(
        "fp8_rows",
        "fp8_rows_" + what + (bf16 ? "_bf16" : "_float32"),
        Launch.Dim.of((int) Math.min(MOST_BLOCKS, Math.ceilDiv(threads, THREADS))),
        Launch.Dim.of(THREADS),
        0,
        List.of(address(from), address(to), integer(rows), integer(width)),
        toString());
  }
}
