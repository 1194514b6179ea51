package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Gpu.assertClose;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** On a GPU: the router for few experts, on Hopper, against the portable one. */
class RouterGpuTest {
  @ParameterizedTest
  @CsvSource({
    "1, 8, 1, 1",
    "300, 72, 37, 5",
    "2500, 512, 64, 6",
    "129, 2056, 40, 16",
    "33000, 64, 64, 8",
    "40000, 520, 64, 6",
    "70000, 64, 64, 11"
  })
  void bothRoutersChooseTheSameExpertsButForTies(int tokens, int hidden, int experts, int chosen) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(37);
      Router router = new Router(tokens, hidden, experts, chosen, 2.5f);
      float[] x = Gpu.normal(random, tokens * hidden);
      int broken = tokens / 2;
      if (tokens > 1) {
        x[broken * hidden] = Float.NaN;
      }
      float[] w = Gpu.normal(random, experts * hidden);
      for (int i = 0; i < w.length; i++) {
        w[i] /= 64; // exact in bf16
      }
      DeviceBuffer x_TH = gpu.bf16(x);
      DeviceBuffer w_EH = gpu.bf16(w);
      DeviceBuffer bias_E = gpu.floats(Gpu.normal(random, experts));
      int n = tokens * chosen;
      DeviceBuffer expert = gpu.poisoned(4L * n);
      DeviceBuffer score = gpu.poisoned(4L * n);
      DeviceBuffer weight = gpu.poisoned(4L * n);
      gpu.stream.launch(router.forward(x_TH, w_EH, bias_E, expert, score, weight));
      int[] experts_TK = gpu.fromInts(expert);
      float[] score_TK = gpu.fromFloats(score);
      float[] weight_TK = gpu.fromFloats(weight);
      for (DeviceBuffer b : new DeviceBuffer[] {expert, score, weight}) {
        gpu.stream.fill(b, (byte) 0xFF);
      }
      Launch narrow =
          router.forward(gpu.device.multiprocessors(), x_TH, w_EH, bias_E, expert, score, weight);
      assertThat(narrow.kernel()).isEqualTo("narrow_router_forward");
      gpu.stream.launch(narrow);
      int[] found = gpu.fromInts(expert);
      float[] scores = gpu.fromFloats(score);
      float[] weights = gpu.fromFloats(weight);
      int differ = 0;
      double[] expectedScore = new double[n];
      double[] expectedWeight = new double[n];
      for (int i = 0; i < n; i++) {
        if (tokens > 1 && i / chosen == broken) {
          assertThat(found[i]).as("an expert that exists").isBetween(0, experts - 1);
          assertThat(scores[i]).isNaN();
          scores[i] = 0;
          weights[i] = 0;
          continue;
        }
        differ += found[i] == experts_TK[i] ? 0 : 1;
        expectedScore[i] = score_TK[i];
        expectedWeight[i] = weight_TK[i];
      }
      assertThat(differ).as("of %d choices, near ties", n).isLessThanOrEqualTo(n / 1000);
      assertClose("scores", scores, expectedScore, differ == 0 ? 1e-5 : 1e-2);
      assertClose("weights", weights, expectedWeight, differ == 0 ? 1e-5 : 1e-2);
    }
  }
}
