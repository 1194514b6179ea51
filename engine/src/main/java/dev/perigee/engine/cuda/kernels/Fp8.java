package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/**
 * bf16 matrices as e4m3 numbers with a float32 scale for each block (DeepSeek-V3, section 3.3.2):
 * 128 x 128 for weights, 1 x 128 for activations. Kernels: {@code src/main/cuda/fp8.cu}.
 *
 * @param rows of the matrix
 * @param columns of it, divisible by 8
 * @param scaling how many rows share a scale
 */
public record Fp8(int rows, int columns, Scaling scaling) {
  private static final int COLUMNS_OF_A_SCALE = 128;

  /** What one scale covers. */
  public enum Scaling {
    /** 128 rows by 128 columns. */
    SQUARE(128),
    /** One row by 128 columns. */
    ROW(1);

    private final int rows;

    Scaling(int rows) {
      this.rows = rows;
    }
  }

  /** Checks the sizes. */
  public Fp8 {
    if (rows < 1 || columns < 8 || columns % 8 != 0) {
      throw new IllegalArgumentException(
          "8-bit matrices have columns divisible by 8, not " + rows + " x " + columns);
    }
  }

  private int scaleColumns() {
    return (columns + COLUMNS_OF_A_SCALE - 1) / COLUMNS_OF_A_SCALE;
  }

  /** Number of scales, row by row of blocks. */
  public long scales() {
    return (long) ((rows + scaling.rows - 1) / scaling.rows) * scaleColumns();
  }

  /** q = e4m3(x / scale), where the largest of each block becomes 448. */
  public Launch quantize(DeviceBuffer x, DeviceBuffer q, DeviceBuffer scale) {
    return launch(
        scaling == Scaling.ROW ? "fp8_quantize_row" : "fp8_quantize_square",
        new Launch.Dim(scaleColumns(), (rows + 127) / 128, 1),
        List.of(address(x), address(q), address(scale), integer(rows), integer(columns / 8)));
  }

  /** x = q · scale. */
  public Launch dequantize(DeviceBuffer q, DeviceBuffer scale, DeviceBuffer x) {
    return launch(
        "fp8_dequantize",
        new Launch.Dim((columns / 8 + 255) / 256, Math.clamp((rows + 3) / 4, 1, 1 << 15), 1),
        List.of(
            address(q),
            address(scale),
            address(x),
            integer(rows),
            integer(columns / 8),
            integer(scaling.rows)));
  }

  private Launch launch(String kernel, Launch.Dim grid, List<Launch.Argument> arguments) {
    return new Launch("fp8", kernel, grid, Launch.Dim.of(256), 0, arguments, toString());
  }
}
