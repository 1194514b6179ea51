package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Gpu.assertClose;
import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** On a GPU: what moves memory, fused, against float64 on the CPU. */
class FusedKernelsGpuTest {
  @ParameterizedTest
  @CsvSource({"1, 8, true", "37, 2048, true", "3, 2056, false", "5, 7168, true", "1500, 72, false"})
  void theNormAndItsGradientsAgreeWithFloat64(int rows, int width, boolean withResidual) {
    try (Gpu gpu = new Gpu()) {
      Random random = new Random(17);
      FusedNorm norm = new FusedNorm(rows, width, 1e-5f);
      int n = rows * width;
      float[] x = Gpu.normal(random, n);
      float[] residual = Gpu.normal(random, n);
      float[] gain = Gpu.normal(random, width);
      float[] dy = Gpu.normal(random, n);
      float[] dresidual = Gpu.normal(random, n);
      double[] r = new double[n];
      double[] y = new double[n];
      double[] dr = new double[n];
      double[] dgain = new double[width];
      for (int t = 0; t < rows; t++) {
        double square = 0;
        for (int c = 0; c < width; c++) {
          int i = t * width + c;
          // What backward sees is rounded to bf16, and so is the sum that it saves.
          r[i] = Bfloat16.toFloat(Bfloat16.of(x[i] + (withResidual ? residual[i] : 0)));
          square += r[i] * r[i];
        }
        double scale = 1 / Math.sqrt(square / width + 1e-5);
        double dot = 0;
        for (int c = 0; c < width; c++) {
          int i = t * width + c;
          y[i] = r[i] * scale * gain[c];
          dot += dy[i] * gain[c] * scale * r[i];
          dgain[c] += dy[i] * r[i] * scale;
        }
        for (int c = 0; c < width; c++) {
          int i = t * width + c;
          dr[i] =
              (withResidual ? dresidual[i] : 0)
                  + dy[i] * gain[c] * scale
                  - r[i] * scale * scale * dot / width;
        }
      }
      DeviceBuffer x_TC = gpu.bf16(x);
      DeviceBuffer r_TC = withResidual ? gpu.poisoned(2L * n) : x_TC;
      DeviceBuffer y_TC = gpu.poisoned(2L * n);
      DeviceBuffer scale_T = gpu.poisoned(4L * rows);
      DeviceBuffer dr_TC = gpu.poisoned(2L * n);
      DeviceBuffer dgain_C = gpu.poisoned(4L * width);
      DeviceBuffer none = Dispatch.NONE;
      DeviceBuffer gain_C = gpu.bf16(gain);
      gpu.stream.launch(
          norm.forward(
              x_TC, withResidual ? gpu.bf16(residual) : none, gain_C, r_TC, y_TC, scale_T));
      norm.backward(
              gpu.bf16(dy),
              r_TC,
              gain_C,
              scale_T,
              withResidual ? gpu.bf16(dresidual) : none,
              dr_TC,
              dgain_C,
              gpu.poisoned(norm.scratchBytes()))
          .forEach(gpu.stream::launch);
      assertClose("r", gpu.fromBf16(r_TC), r, 1e-7);
      assertClose("y", gpu.fromBf16(y_TC), y, 1e-2);
      assertClose("dr", gpu.fromBf16(dr_TC), dr, 1e-2);
      assertClose("dgain", gpu.fromFloats(dgain_C), dgain, 1e-5);
    }
  }

  @ParameterizedTest
  @CsvSource({"3, 2, 192, 64", "1, 1, 8, 8", "70, 16, 192, 64", "9, 1, 64, 64", "21, 6, 40, 24"})
  void headsTurnByTheirRowsPositionAndBack(int rows, int heads, int width, int rotated) {
    try (Gpu gpu = new Gpu()) {
      Random random = new Random(19);
      int positions = 100;
      int pairs = rotated / 2;
      float[] x = Gpu.normal(random, rows * heads * width);
      float[] cosine = new float[positions * pairs];
      float[] sine = new float[positions * pairs];
      for (int i = 0; i < cosine.length; i++) {
        int position = i / pairs;
        double angle = position * Math.pow(10000, -(i % pairs) / (double) pairs);
        cosine[i] = (float) Math.cos(angle);
        sine[i] = (float) Math.sin(angle);
      }
      int[] position = random.ints(rows, 0, positions).toArray();
      double[] turned = new double[x.length];
      double[] same = new double[x.length];
      for (int i = 0; i < x.length; i++) {
        int at = i % width - (width - rotated);
        int angle = position[i / width / heads] * pairs + at / 2;
        same[i] = x[i];
        turned[i] =
            at < 0
                ? x[i]
                : at % 2 == 0
                    ? x[i] * (double) cosine[angle] - x[i + 1] * (double) sine[angle]
                    : x[i] * (double) cosine[angle] + x[i - 1] * (double) sine[angle];
      }
      FusedRope rope = new FusedRope(rows, heads, width, rotated);
      DeviceBuffer x_THD = gpu.bf16(x);
      DeviceBuffer at = gpu.ints(position);
      DeviceBuffer cosines = gpu.floats(cosine);
      DeviceBuffer sines = gpu.floats(sine);
      gpu.stream.launch(rope.turn(x_THD, at, cosines, sines, /* back */ false));
      assertClose("turned", gpu.fromBf16(x_THD), turned, 1e-2);
      gpu.stream.launch(rope.turn(x_THD, at, cosines, sines, /* back */ true));
      assertClose("turned back", gpu.fromBf16(x_THD), same, 1e-2);
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 8", "77, 1408", "9, 2816"})
  void swiGluAloneAgreesWithFloat64(int rows, int width) {
    try (Gpu gpu = new Gpu()) {
      float[] h = Gpu.normal(new Random(23), rows * 2 * width);
      double[] a = new double[rows * width];
      for (int i = 0; i < a.length; i++) {
        double gate = h[i / width * 2 * width + i % width];
        a[i] = gate / (1 + Math.exp(-gate)) * h[i / width * 2 * width + width + i % width];
      }
      DeviceBuffer a_SF = gpu.poisoned(2L * a.length);
      gpu.stream.launch(SwiGlu.forward(gpu.bf16(h), a_SF, rows, width));
      assertClose("a", gpu.fromBf16(a_SF), a, 1e-2);
    }
  }

  @ParameterizedTest
  @CsvSource({"4", "10004"})
  void threeUpdatesOfAdamWAgreeWithFloat64(int n) {
    try (Gpu gpu = new Gpu()) {
      Random random = new Random(29);
      FusedAdamW rule = new FusedAdamW(0.9f, 0.95f, 1e-8f, 0.1f);
      float[] w = Gpu.normal(random, n);
      double[] weight = new double[n];
      double[] mean = new double[n];
      double[] square = new double[n];
      for (int i = 0; i < n; i++) {
        weight[i] = w[i];
      }
      DeviceBuffer master = gpu.floats(w);
      DeviceBuffer means = gpu.floats(new float[n]);
      DeviceBuffer squares = gpu.floats(new float[n]);
      DeviceBuffer rounded = gpu.poisoned(2L * n);
      for (int t = 1; t <= 3; t++) {
        float[] g = Gpu.normal(random, n);
        float rate = 0.1f / t;
        float scale = 0.5f;
        double c1 = 1 - Math.pow(rule.beta1(), t);
        double c2 = 1 - Math.pow(rule.beta2(), t);
        gpu.stream.launch(
            rule.update(
                gpu.bf16(g),
                means,
                squares,
                master,
                rounded,
                gpu.floats(new float[] {rate, scale, (float) c1, (float) c2})));
        for (int i = 0; i < n; i++) {
          double x = scale * g[i];
          mean[i] = rule.beta1() * mean[i] + (1 - rule.beta1()) * x;
          square[i] = rule.beta2() * square[i] + (1 - rule.beta2()) * x * x;
          weight[i] =
              weight[i] * (1 - rate * rule.weightDecay())
                  - rate * mean[i] / c1 / (Math.sqrt(square[i] / c2) + rule.epsilon());
        }
      }
      assertClose("means", gpu.fromFloats(means), mean, 1e-5);
      assertClose("squares", gpu.fromFloats(squares), square, 1e-5);
      assertClose("master weights", gpu.fromFloats(master), weight, 1e-5);
      assertClose("bf16 weights", gpu.fromBf16(rounded), weight, 1e-2);
    }
  }

  @ParameterizedTest
  @EnumSource(Fp8.Scaling.class)
  void eightBitsKeepEveryNumberToWithinHalfAStepOfItsBlock(Fp8.Scaling scaling) {
    try (Gpu gpu = new Gpu()) {
      for (int[] shape : new int[][] {{1, 8}, {300, 392}, {129, 2048}}) {
        int rows = shape[0];
        int columns = shape[1];
        Random random = new Random(31);
        float[] x = Gpu.normal(random, rows * columns);
        for (int i = 0; i < x.length; i++) { // blocks of very different size, one of zeros
          x[i] = i / columns < 128 && i % columns < 128 ? 0 : Math.scalb(x[i], i % 5 * 3);
        }
        Fp8 fp8 = new Fp8(rows, columns, scaling);
        DeviceBuffer q = gpu.poisoned((long) rows * columns);
        DeviceBuffer scale = gpu.poisoned(4 * fp8.scales());
        DeviceBuffer back = gpu.poisoned(2L * x.length);
        gpu.stream.launch(fp8.quantize(gpu.bf16(x), q, scale));
        gpu.stream.launch(fp8.dequantize(q, scale, back));
        float[] y = gpu.fromBf16(back);
        float[] scales = gpu.fromFloats(scale);
        int across = (columns + 127) / 128;
        int down = scaling == Fp8.Scaling.ROW ? 1 : 128;
        for (int i = 0; i < x.length; i++) {
          float s = scales[i / columns / down * across + i % columns / 128];
          // Three bits of fraction: half a step is 1/16 of a normal number, and of the smallest
          // normal number, 2^-6, for those below; bf16 rounds the result once more.
          double allowed =
              Math.max(Math.abs(x[i]), s * Math.scalb(1.0, -6)) * (1 / 16.0 + 1 / 256.0);
          assertThat(Math.abs(y[i] - x[i]))
              .as("number %d of %s", i, fp8)
              .isLessThanOrEqualTo((float) allowed);
        }
      }
    }
  }
}
