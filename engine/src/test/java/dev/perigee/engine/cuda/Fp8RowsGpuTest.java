package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.backend.Fp8;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import dev.perigee.engine.cuda.kernels.Bfloat16;
import dev.perigee.engine.tensor.Tensor;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** On a GPU: packed rows, and what comes back of them, are bit for bit the CPU's. */
final class Fp8RowsGpuTest {
  private final Backend cpu = new CpuBackend();

  /** Sizes over thirty powers of two, zeros of both signs, halves between numbers of E4M3. */
  private static float[] numbers(int rows, int width, boolean bf16) {
    Random random = new Random(rows * 31L + width);
    float[] x = new float[rows * width];
    for (int i = 0; i < x.length; i++) {
      x[i] = (float) (random.nextGaussian() * Math.scalb(1.0, random.nextInt(30) - 20));
      switch (i % 17) {
        case 3 -> x[i] = 0;
        case 5 -> x[i] = -0f;
        case 7 -> x[i] = Math.round(x[i] * 32) / 32f;
        default -> {}
      }
      if (bf16) {
        x[i] = Bfloat16.toFloat(Bfloat16.of(x[i]));
      }
    }
    if (rows > 3) {
      x[width] = Float.NaN;
      x[3 * width - 1] = Float.POSITIVE_INFINITY;
    }
    return x;
  }

  private static int[] bits(float[] x) {
    int[] bits = new int[x.length];
    for (int i = 0; i < x.length; i++) {
      bits[i] = Float.floatToIntBits(x[i]); // one NaN is as good as another
    }
    return bits;
  }

  @ParameterizedTest
  @CsvSource({
    "1, 1, false",
    "5, 127, false",
    "7, 128, true",
    "300, 392, true",
    "1, 130, true",
    "4096, 2048, false",
    "9000, 1408, true"
  })
  void rowsArePackedAndComeBackAsOnTheCpu(int rows, int width, boolean bf16) {
    try (Gpu gpu = new Gpu()) {
      float[] x = numbers(rows, width, bf16);
      Tensor packed = Tensor.zeros(rows, Fp8.packedWidth(width));
      Tensor near = Tensor.zeros(rows, width);
      cpu.packFp8(Tensor.of(x, rows, width), packed);
      cpu.unpackFp8(packed, near);

      Fp8Rows kernels = new Fp8Rows(rows, width, bf16);
      DeviceBuffer words = gpu.poisoned(4L * packed.size());
      DeviceBuffer back = gpu.poisoned((bf16 ? 2L : 4L) * near.size());
      gpu.stream.launch(kernels.pack(bf16 ? gpu.bf16(x) : gpu.floats(x), words));
      gpu.stream.launch(kernels.unpack(words, back));
      assertThat(bits(gpu.fromFloats(words))).isEqualTo(bits(packed.floats()));
      float[] expected = near.floats();
      if (bf16) {
        for (int i = 0; i < expected.length; i++) {
          expected[i] = Bfloat16.toFloat(Bfloat16.of(expected[i]));
        }
      }
      assertThat(bits(bf16 ? gpu.fromBf16(back) : gpu.fromFloats(back))).isEqualTo(bits(expected));
    }
  }
}
