package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Gpu.assertClose;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** On a GPU: the whole expert layer, forward and backward, against float64 on the CPU. */
class MoeLayerGpuTest {
  static Stream<MoeLayer.Sizes> sizes() {
    return Stream.of(
        new MoeLayer.Sizes(100, 64, 8, 2, 40, 48, 2.5f),
        new MoeLayer.Sizes(333, 136, 40, 6, 72, 128, 1f),
        new MoeLayer.Sizes(260, 64, 8, 6, 328, 904, 1f), // pairs: odd, low and narrow tiles
        new MoeLayer.Sizes(9, 72, 96, 8, 8, 16, 0.5f)); // most experts have no rows
  }

  /** The layer and its gradients in float64, with the experts chosen by the caller. */
  private static final class Oracle {
    final double[] out;
    final double[] dx;
    final List<double[]> dw;

    Oracle(MoeLayer.Sizes z, float[] x, List<float[]> w, float[] dout, int[] chosen) {
      int h = z.hidden();
      int k = z.chosen();
      out = new double[z.tokens() * h];
      dx = new double[z.tokens() * h];
      dw = new ArrayList<>();
      w.forEach(v -> dw.add(new double[v.length]));
      for (int t = 0; t < z.tokens(); t++) {
        double[] s = new double[k];
        double sum = 0;
        for (int j = 0; j < k; j++) {
          double logit = 0;
          for (int i = 0; i < h; i++) {
            logit += (double) x[t * h + i] * w.get(0)[chosen[t * k + j] * h + i];
          }
          s[j] = 1 / (1 + Math.exp(-logit));
          sum += s[j];
        }
        double[] ds = new double[k];
        double dot = 0;
        for (int j = 0; j < k; j++) {
          double weight = z.scale() * s[j] / sum;
          ds[j] = expert(z.width(), chosen[t * k + j], weight, t, h, x, w, dout, 1);
          dot += ds[j] * s[j];
        }
        expert(z.sharedWidth(), 0, 1, t, h, x, w, dout, 3);
        for (int j = 0; j < k; j++) {
          double dlogit = z.scale() * (ds[j] - dot / sum) / sum * s[j] * (1 - s[j]);
          for (int i = 0; i < h; i++) {
            int at = chosen[t * k + j] * h + i;
            dx[t * h + i] += dlogit * w.get(0)[at];
            dw.get(0)[at] += dlogit * x[t * h + i];
          }
        }
      }
    }

    /** Adds one expert's part for one token; returns the gradient of its weight. */
    private double expert(
        int f,
        int e,
        double weight,
        int t,
        int h,
        float[] x,
        List<float[]> w,
        float[] dout,
        int m) {
      float[] up = w.get(m);
      float[] down = w.get(m + 1);
      double dweight = 0;
      for (int q = 0; q < f; q++) {
        double g = 0;
        double u = 0;
        double da = 0;
        int gateRow = (e * 2 * f + q) * h;
        int upRow = (e * 2 * f + f + q) * h;
        for (int i = 0; i < h; i++) {
          g += (double) x[t * h + i] * up[gateRow + i];
          u += (double) x[t * h + i] * up[upRow + i];
          da += (double) dout[t * h + i] * down[(e * h + i) * f + q];
        }
        double sigma = 1 / (1 + Math.exp(-g));
        double a = g * sigma * u;
        dweight += da * a;
        double dg = weight * da * u * sigma * (1 + g * (1 - sigma));
        double du = weight * da * g * sigma;
        for (int i = 0; i < h; i++) {
          out[t * h + i] += weight * a * down[(e * h + i) * f + q];
          dw.get(m + 1)[(e * h + i) * f + q] += weight * a * dout[t * h + i];
          dw.get(m)[gateRow + i] += dg * x[t * h + i];
          dw.get(m)[upRow + i] += du * x[t * h + i];
          dx[t * h + i] += dg * up[gateRow + i] + du * up[upRow + i];
        }
      }
      return dweight;
    }
  }

  private static float[] scaled(float[] x, float factor) {
    for (int i = 0; i < x.length; i++) {
      x[i] = Bfloat16.toFloat(Bfloat16.of(x[i] * factor));
    }
    return x;
  }

  @ParameterizedTest
  @MethodSource("sizes")
  void theLayerAndEveryGradientAgreeWithFloat64AndAReplayedGraphGivesTheSameBits(MoeLayer.Sizes z) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(3);
      int th = z.tokens() * z.hidden();
      float width = (float) (1 / Math.sqrt(z.hidden()));
      float[] x = Gpu.normal(random, th);
      float[] dout = Gpu.normal(random, th);
      float[] bias = scaled(Gpu.normal(random, z.experts()), 0.1f);
      List<float[]> w =
          List.of(
              scaled(Gpu.normal(random, z.experts() * z.hidden()), width),
              scaled(Gpu.normal(random, z.experts() * 2 * z.width() * z.hidden()), width),
              scaled(Gpu.normal(random, z.experts() * z.width() * z.hidden()), width),
              scaled(Gpu.normal(random, 2 * z.sharedWidth() * z.hidden()), width),
              scaled(Gpu.normal(random, z.sharedWidth() * z.hidden()), width));
      MoeLayer.Weights weights =
          new MoeLayer.Weights(
              gpu.bf16(w.get(0)),
              gpu.bf16(w.get(1)),
              gpu.bf16(w.get(2)),
              gpu.bf16(w.get(3)),
              gpu.bf16(w.get(4)));
      MoeLayer.Weights gradients = MoeLayer.Weights.allocate(gpu.arena, z);
      gradients.all().forEach(b -> gpu.stream.fill(b, (byte) 0xFF));
      DeviceBuffer bias_E = gpu.floats(bias);
      DeviceBuffer x_TH = gpu.bf16(x);
      DeviceBuffer dout_TH = gpu.bf16(dout);
      DeviceBuffer out_TH = gpu.poisoned(2L * th);
      DeviceBuffer dx_TH = gpu.poisoned(2L * th);
      MoeLayer layer = new MoeLayer(gpu.device, gpu.poisoned(), z);
      Runnable step =
          () -> {
            layer.forward(gpu.stream, gpu.device.beside(), weights, bias_E, x_TH, out_TH);
            layer.backward(
                gpu.stream, gpu.device.beside(), weights, x_TH, dout_TH, dx_TH, gradients);
          };
      step.run();

      int[] chosen = gpu.fromInts(layer.chosenExperts_TK());
      assertChosenByBiasedScore(z, x, w.get(0), bias, chosen);
      Oracle oracle = new Oracle(z, x, w, dout, chosen);
      float[] out = gpu.fromBf16(out_TH);
      float[] dx = gpu.fromBf16(dx_TH);
      assertClose("out", out, oracle.out, 1e-2);
      assertClose("dx", dx, oracle.dx, 1e-2);
      for (int i = 0; i < w.size(); i++) {
        assertClose(
            "gradient of weight " + i,
            gpu.fromBf16(gradients.all().get(i)),
            oracle.dw.get(i),
            1e-2);
      }

      try (dev.perigee.engine.cuda.driver.Stream.Graph graph = gpu.stream.capture(step)) {
        gpu.stream.fill(out_TH, (byte) 0xFF);
        gpu.stream.fill(dx_TH, (byte) 0xFF);
        gpu.stream.replay(graph);
        assertThat(gpu.fromBf16(out_TH)).isEqualTo(out);
        assertThat(gpu.fromBf16(dx_TH)).isEqualTo(dx);
      }
    }
  }

  /** The chosen are k different experts, and none that was left out has a clearly larger score. */
  private static void assertChosenByBiasedScore(
      MoeLayer.Sizes z, float[] x, float[] router, float[] bias, int[] chosen) {
    int h = z.hidden();
    int k = z.chosen();
    for (int t = 0; t < z.tokens(); t++) {
      double[] score = new double[z.experts()];
      for (int e = 0; e < z.experts(); e++) {
        double logit = 0;
        for (int i = 0; i < h; i++) {
          logit += (double) x[t * h + i] * router[e * h + i];
        }
        score[e] = 1 / (1 + Math.exp(-logit)) + bias[e];
      }
      int[] mine = Arrays.copyOfRange(chosen, t * k, (t + 1) * k);
      assertThat(Arrays.stream(mine).distinct().count()).isEqualTo(k);
      double worst = Arrays.stream(mine).mapToDouble(e -> score[e]).min().orElseThrow();
      double missed =
          IntStream.range(0, z.experts())
              .filter(e -> Arrays.stream(mine).noneMatch(m -> m == e))
              .mapToDouble(e -> score[e])
              .max()
              .orElse(Double.NEGATIVE_INFINITY);
      assertThat(missed).as("score of an expert that token %d missed", t).isLessThan(worst + 1e-5);
    }
  }
}
