package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Gpu.assertClose;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** On a GPU: causal latent attention and its gradients against float64 on the CPU. */
class MlaPrefillGpuTest {
  private static final int Q = MlaPrefill.QUERY;
  private static final int C = MlaPrefill.PAIR;
  private static final int N = MlaPrefill.NOPE;
  private static final int R = MlaPrefill.ROPE;
  private static final int V = MlaPrefill.VALUE;

  static Stream<MlaPrefill> cases() {
    return Stream.of(
        new MlaPrefill(1, 1, 1, 0.07f),
        new MlaPrefill(1, 128, 2, 0.07f),
        new MlaPrefill(3, 65, 1, 0.07f),
        new MlaPrefill(2, 333, 3, 0.1f), // odd, more than two tiles
        new MlaPrefill(1, 512, 5, 0.02f));
  }

  /** One sequence and head at a time, in float64. */
  private static final class Oracle {
    final MlaPrefill m;
    final double[] out;
    final double[] dq;
    final double[] dkv;
    final double[] dkr;
    final double[] largest;

    Oracle(MlaPrefill m, float[] q, float[] kv, float[] kr, float[] dout) {
      this.m = m;
      int rows = m.sequences() * m.tokens();
      out = new double[rows * m.heads() * V];
      dq = new double[q.length];
      dkv = new double[kv.length];
      dkr = new double[kr.length];
      largest = new double[m.heads()];
      Arrays.fill(largest, Double.NEGATIVE_INFINITY);
      for (int b = 0; b < m.sequences(); b++) {
        for (int h = 0; h < m.heads(); h++) {
          for (int t = 0; t < m.tokens(); t++) {
            query(b * m.tokens(), t, h, q, kv, kr, dout);
          }
        }
      }
    }

    private void query(int first, int t, int h, float[] q, float[] kv, float[] kr, float[] dout) {
      int row = (first + t) * m.heads() + h;
      double[] p = new double[t + 1];
      double sum = 0;
      for (int s = 0; s <= t; s++) {
        int key = ((first + s) * m.heads() + h) * C;
        for (int i = 0; i < N; i++) {
          p[s] += (double) q[row * Q + i] * kv[key + i];
        }
        for (int i = 0; i < R; i++) {
          p[s] += (double) q[row * Q + N + i] * kr[(first + s) * R + i];
        }
        p[s] *= m.scale();
        largest[h] = Math.max(largest[h], p[s]);
        p[s] = Math.exp(p[s]);
        sum += p[s];
      }
      double delta = 0;
      double[] dp = new double[t + 1];
      for (int s = 0; s <= t; s++) {
        p[s] /= sum;
        int value = ((first + s) * m.heads() + h) * C + N;
        for (int i = 0; i < V; i++) {
          out[row * V + i] += p[s] * kv[value + i];
          dp[s] += (double) dout[row * V + i] * kv[value + i];
          dkv[value + i] += p[s] * dout[row * V + i];
        }
        delta += p[s] * dp[s];
      }
      for (int s = 0; s <= t; s++) {
        double ds = m.scale() * p[s] * (dp[s] - delta);
        int key = ((first + s) * m.heads() + h) * C;
        for (int i = 0; i < N; i++) {
          dq[row * Q + i] += ds * kv[key + i];
          dkv[key + i] += ds * q[row * Q + i];
        }
        for (int i = 0; i < R; i++) {
          dq[row * Q + N + i] += ds * kr[(first + s) * R + i];
          dkr[(first + s) * R + i] += ds * q[row * Q + N + i];
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void outputGradientsAndLargestLogitsAgreeWithFloat64(MlaPrefill m) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(13);
      int rows = m.sequences() * m.tokens();
      float[] q = Gpu.normal(random, rows * m.heads() * Q);
      float[] kv = Gpu.normal(random, rows * m.heads() * C);
      float[] kr = Gpu.normal(random, rows * R);
      float[] dout = Gpu.normal(random, rows * m.heads() * V);
      Oracle oracle = new Oracle(m, q, kv, kr, dout);
      DeviceBuffer q_BSHQ = gpu.bf16(q);
      DeviceBuffer kv_BSHC = gpu.bf16(kv);
      DeviceBuffer kr_BSR = gpu.bf16(kr);
      DeviceBuffer dout_BSHV = gpu.bf16(dout);
      DeviceBuffer scratch = gpu.poisoned(m.scratchBytes());
      float[] once = null;
      for (int blocks : new int[] {gpu.device.multiprocessors(), 3}) {
        DeviceBuffer out = gpu.poisoned(2L * dout.length);
        DeviceBuffer lse = gpu.poisoned(m.rowBytes());
        DeviceBuffer largest = gpu.poisoned(4L * m.heads());
        DeviceBuffer dq = gpu.poisoned(2L * q.length);
        DeviceBuffer dkv = gpu.poisoned(2L * kv.length);
        DeviceBuffer dkr = gpu.poisoned(2L * kr.length);
        gpu.stream.launch(m.beginLargest(largest));
        m.forward(blocks, q_BSHQ, kv_BSHC, kr_BSR, out, lse, largest).forEach(gpu.stream::launch);
        m.backward(blocks, q_BSHQ, kv_BSHC, kr_BSR, out, lse, dout_BSHV, dq, dkv, dkr, scratch)
            .forEach(gpu.stream::launch);
        assertClose("out of " + m, gpu.fromBf16(out), oracle.out, 1e-2);
        assertClose("largest logits of " + m, gpu.fromFloats(largest), oracle.largest, 1e-5);
        if (m.tokens() > 1) { // one token's weight is 1 whatever its logit: no gradient but noise
          assertClose("dq of " + m, gpu.fromBf16(dq), oracle.dq, 1e-2);
          assertClose("dkr of " + m, gpu.fromBf16(dkr), oracle.dkr, 1e-2);
        }
        assertClose("dkv of " + m, gpu.fromBf16(dkv), oracle.dkv, 1e-2);
        if (once != null) {
          assertThat(gpu.fromBf16(dq)).as("the same bits from other blocks").isEqualTo(once);
        }
        once = gpu.fromBf16(dq);
      }
    }
  }
}
