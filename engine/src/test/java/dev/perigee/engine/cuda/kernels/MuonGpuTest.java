package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Gpu.assertClose;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** On a GPU: two steps of Muon against float64 on the CPU, momentum and clip included. */
class MuonGpuTest {
  private static final float RATE = 0.1f;
  private static final float SCALE = 0.25f;

  /**
   * Of the weights after two steps. The iteration blows up what rounding its operands to bf16
   * costs: in the usual form, too, with every sum in float64, it ends 1.0 % to 1.3 % off.
   */
  private static final double TOLERANCE = 2e-2;

  static Stream<Muon> cases() {
    return Stream.of(
        new Muon(3, 72, 200, rule(true, 5), Muon.Form.PLAIN),
        new Muon(3, 72, 200, rule(true, 5), Muon.Form.GRAM),
        new Muon(2, 200, 72, rule(true, 5), Muon.Form.PLAIN),
        new Muon(2, 200, 72, rule(true, 5), Muon.Form.GRAM),
        // A tile below the diagonal is left out.
        new Muon(2, 136, 528, rule(false, 4), Muon.Form.PLAIN),
        new Muon(2, 136, 528, rule(false, 4), Muon.Form.GRAM),
        // Here the Gram form's matrices do not fit into the iterate.
        new Muon(1, 600, 328, rule(true, 5), Muon.Form.PLAIN),
        new Muon(1, 600, 328, rule(true, 5), Muon.Form.GRAM),
        new Muon(2, 328, 1040, rule(false, 5)),
        new Muon(5, 8, 16, rule(true, 1)));
  }

  private static Muon.Rule rule(boolean nesterov, int steps) {
    return new Muon.Rule(0.95f, nesterov, steps, 3.4445f, -4.775f, 2.0315f, 0.2f, 0.1f);
  }

  /** One matrix through the same steps in float64. */
  private static final class Oracle {
    final Muon m;
    final double[] momentum;
    final double[] weight;

    Oracle(Muon m, float[] weight) {
      this.m = m;
      this.momentum = new double[weight.length];
      this.weight = new double[weight.length];
      Arrays.setAll(this.weight, i -> weight[i]);
    }

    void step(float[] gradient, float[] clip) {
      Muon.Rule r = m.rule();
      int n = m.rows();
      int c = m.columns();
      double[] x = new double[n * c];
      double norm = 0;
      for (int i = 0; i < x.length; i++) {
        double g = SCALE * gradient[i];
        momentum[i] = r.momentum() * momentum[i] + g;
        x[i] = r.nesterov() ? g + r.momentum() * momentum[i] : momentum[i];
        norm += x[i] * x[i];
      }
      for (int i = 0; i < x.length; i++) {
        x[i] /= Math.sqrt(norm);
      }
      for (int s = 0; s < r.steps(); s++) {
        double[] g = product(x, transposed(x, n, c), n, c, n); // X Xᵀ, n by n
        double[] gg = product(g, g, n, n, n);
        double[] p = new double[n * n];
        for (int i = 0; i < p.length; i++) {
          p[i] = r.b() * g[i] + r.c() * gg[i] + (i / n == i % n ? r.a() : 0);
        }
        x = product(p, x, n, n, c);
      }
      double size = r.updateRms() * Math.sqrt(Math.max(n, c));
      for (int i = 0; i < x.length; i++) {
        weight[i] = clip[i / c] * (weight[i] * (1 - RATE * r.weightDecay()) - RATE * size * x[i]);
      }
    }

    private static double[] transposed(double[] a, int rows, int columns) {
      double[] t = new double[a.length];
      for (int i = 0; i < a.length; i++) {
        t[i % columns * rows + i / columns] = a[i];
      }
      return t;
    }

    private static double[] product(double[] a, double[] b, int rows, int inner, int columns) {
      double[] d = new double[rows * columns];
      for (int i = 0; i < rows; i++) {
        for (int k = 0; k < inner; k++) {
          double v = a[i * inner + k];
          for (int j = 0; j < columns; j++) {
            d[i * columns + j] += v * b[k * columns + j];
          }
        }
      }
      return d;
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void twoStepsAgreeWithFloat64(Muon m) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(5);
      int of = m.rows() * m.columns();
      int all = m.matrices() * of;
      float[] weight = new float[all]; // zero: the result is the updates alone
      float[] clip = new float[m.matrices() * m.rows()];
      for (int i = 0; i < clip.length; i++) {
        clip[i] = 0.5f + 0.5f * random.nextFloat();
      }
      DeviceBuffer momentum = gpu.floats(new float[all]);
      DeviceBuffer master = gpu.floats(weight);
      DeviceBuffer rounded = gpu.poisoned(2L * all);
      DeviceBuffer rates = gpu.floats(new float[] {RATE, SCALE});
      DeviceBuffer clips = gpu.floats(clip);
      DeviceBuffer scratch = gpu.poisoned(m.scratchBytes());
      double[] expected = new double[all];
      double[] expectedMomentum = new double[all];
      Oracle[] oracles = new Oracle[m.matrices()];
      for (Muon.Gradient type : Muon.Gradient.values()) {
        float[] gradient = Gpu.normal(random, all);
        DeviceBuffer g = type == Muon.Gradient.BF16 ? gpu.bf16(gradient) : gpu.floats(gradient);
        m.step(132, type, g, momentum, master, rounded, rates, clips, scratch)
            .forEach(gpu.stream::launch);
        for (int b = 0; b < m.matrices(); b++) {
          if (oracles[b] == null) {
            oracles[b] = new Oracle(m, new float[of]);
          }
          oracles[b].step(
              Arrays.copyOfRange(gradient, b * of, (b + 1) * of),
              Arrays.copyOfRange(clip, b * m.rows(), (b + 1) * m.rows()));
          System.arraycopy(oracles[b].weight, 0, expected, b * of, of);
          System.arraycopy(oracles[b].momentum, 0, expectedMomentum, b * of, of);
        }
      }
      assertClose("momentum", gpu.fromFloats(momentum), expectedMomentum, 1e-5);
      assertClose("master weights of " + m, gpu.fromFloats(master), expected, TOLERANCE);
      assertClose("bf16 weights of " + m, gpu.fromBf16(rounded), expected, TOLERANCE);
    }
  }
}
