package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.Gpu.assertClose;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** On a GPU: the fused loss and its gradients against float64 on the CPU. */
class LinearCrossEntropyGpuTest {
  static Stream<LinearCrossEntropy.Sizes> cases() {
    return Stream.of(
        new LinearCrossEntropy.Sizes(1, 8, 8, 64),
        new LinearCrossEntropy.Sizes(70, 72, 1000, 128),
        new LinearCrossEntropy.Sizes(300, 136, 776, 128), // a last chunk that is smaller
        new LinearCrossEntropy.Sizes(256, 64, 2056, 128));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void lossesAndGradientsAgreeWithFloat64AndTokensWithoutTargetDoNotCount(
      LinearCrossEntropy.Sizes z) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(11);
      int h = z.hidden();
      int v = z.vocabulary();
      float[] x = Gpu.normal(random, z.tokens() * h);
      float[] w = Gpu.normal(random, v * h);
      for (int i = 0; i < w.length; i++) {
        w[i] *= 0.125f;
      }
      int[] target = new int[z.tokens()];
      for (int t = 0; t < z.tokens(); t++) {
        target[t] = t % 7 == 3 ? -1 : random.nextInt(v);
      }
      float scale = 0.5f;
      double[] loss = new double[z.tokens()];
      double[] dx = new double[x.length];
      double[] dw = new double[w.length];
      for (int t = 0; t < z.tokens(); t++) {
        if (target[t] >= 0) {
          loss[t] = token(x, w, t, target[t], h, v, scale, dx, dw);
        }
      }
      DeviceBuffer loss_T = gpu.poisoned(4L * z.tokens());
      DeviceBuffer dx_TH = gpu.poisoned(2L * x.length);
      DeviceBuffer dw_VH = gpu.poisoned(4L * w.length);
      new LinearCrossEntropy(gpu.device, gpu.poisoned(), z)
          .lossAndGradients(
              132, gpu.bf16(x), gpu.bf16(w), gpu.ints(target), scale, loss_T, dx_TH, dw_VH, false)
          .forEach(gpu.stream::launch);
      assertClose("loss of " + z, gpu.fromFloats(loss_T), loss, 1e-3);
      assertClose("dx of " + z, gpu.fromBf16(dx_TH), dx, 1e-2);
      assertClose("dw of " + z, gpu.fromFloats(dw_VH), dw, 1e-2);
    }
  }

  /** One token's loss; adds its gradients. */
  private static double token(
      float[] x,
      float[] w,
      int t,
      int target,
      int h,
      int v,
      float scale,
      double[] dx,
      double[] dw) {
    double[] logit = new double[v];
    double sum = 0;
    for (int j = 0; j < v; j++) {
      for (int i = 0; i < h; i++) {
        logit[j] += (double) x[t * h + i] * w[j * h + i];
      }
      sum += Math.exp(logit[j]);
    }
    for (int j = 0; j < v; j++) {
      double d = scale * (Math.exp(logit[j]) / sum - (j == target ? 1 : 0));
      for (int i = 0; i < h; i++) {
        dx[t * h + i] += d * w[j * h + i];
        dw[j * h + i] += d * x[t * h + i];
      }
    }
    return Math.log(sum) - logit[target];
  }
}
