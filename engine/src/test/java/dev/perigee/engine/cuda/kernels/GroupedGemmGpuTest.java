package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Gpu.assertClose;
import static dev.perigee.engine.cuda.driver.Gpu.assertUntouched;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** On a GPU: the grouped products and their gradients against sums in float64 on the CPU. */
class GroupedGemmGpuTest {
  /** Rows of each expert, inputs and outputs; room for {@code spare} more rows that hold poison. */
  record Case(List<Integer> rows, int inputs, int outputs, int spare) {
    int used() {
      return rows.stream().mapToInt(Integer::intValue).sum();
    }

    GroupedGemm.Sizes sizes() {
      return new GroupedGemm.Sizes(rows.size(), used() + spare, inputs, outputs);
    }

    int[] offsets() {
      int[] o = new int[rows.size() + 1];
      for (int e = 0; e < rows.size(); e++) {
        o[e + 1] = o[e] + rows.get(e);
      }
      return o;
    }

    @Override
    public String toString() {
      return rows + " rows, " + inputs + " to " + outputs + ", spare " + spare;
    }
  }

  static Stream<Case> cases() {
    return Stream.of(
        new Case(List.of(128, 128), 64, 256, 0),
        new Case(List.of(1, 63, 64, 65, 127, 129), 72, 80, 5),
        new Case(List.of(0, 300, 0, 7, 0), 136, 528, 40), // empty experts
        new Case(List.of(0, 0, 515, 0), 328, 304, 0), // one expert with everything
        new Case(List.of(0, 0), 64, 64, 3), // nobody has rows
        new Case(List.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), 8, 16, 1),
        new Case(List.of(70, 0, 300, 129), 488, 1008, 9), // every product in pairs
        new Case(List.of(300, 129, 20), 896, 1664, 0), // pairs with a narrow tile, and with none
        new Case(List.of(700, 90), 200, 1040, 0), // more tiles than one pass of a few blocks
        new Case(List.of(700, 129, 1000), 648, 336, 2), // pairs along both sides
        new Case(
            List.of(897), 1288, 384, 0)); // a weight gradient whose last row of tiles pairs along n
  }

  /** rows × columns with NaN in the rows that no expert owns. */
  private static float[] withPoison(float[] x, int spare, int columns) {
    float[] y = Arrays.copyOf(x, x.length + spare * columns);
    Arrays.fill(y, x.length, y.length, Float.NaN);
    return y;
  }

  @ParameterizedTest
  @MethodSource("cases")
  void wgmmaAndPlainKernelsGiveTheSumsOfTheCpu(Case c) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(7);
      int s = c.used();
      int e = c.rows.size();
      int i = c.inputs;
      int o = c.outputs;
      float[] x_SI = Gpu.normal(random, s * i);
      float[] w_EOI = Gpu.normal(random, e * o * i);
      float[] dy_SO = Gpu.normal(random, s * o);
      double[] y_SO = new double[s * o];
      double[] dx_SI = new double[s * i];
      double[] dw_EOI = new double[e * o * i];
      int[] offsets = c.offsets();
      for (int g = 0; g < e; g++) {
        for (int r = offsets[g]; r < offsets[g + 1]; r++) {
          for (int q = 0; q < o; q++) {
            double sum = 0;
            double dy = dy_SO[r * o + q];
            int w = (g * o + q) * i;
            for (int p = 0; p < i; p++) {
              sum += (double) x_SI[r * i + p] * w_EOI[w + p];
              dx_SI[r * i + p] += dy * w_EOI[w + p];
              dw_EOI[w + p] += dy * x_SI[r * i + p];
            }
            y_SO[r * o + q] = sum;
          }
        }
      }

      GroupedGemm.Sizes sizes = c.sizes();
      DeviceBuffer x = gpu.bf16(withPoison(x_SI, c.spare, i));
      DeviceBuffer w = gpu.bf16(w_EOI);
      DeviceBuffer dy = gpu.bf16(withPoison(dy_SO, c.spare, o));
      DeviceBuffer at = gpu.ints(offsets);
      // A few blocks walk many tiles each; many blocks leave some without any.
      // An odd number never forms pairs; an even one does where the tiles come out even.
      for (int blocks : new int[] {3, 4, gpu.device.multiprocessors()}) {
        DeviceBuffer y = gpu.poisoned(2L * sizes.rows() * o);
        DeviceBuffer dx = gpu.poisoned(2L * sizes.rows() * i);
        DeviceBuffer dw = gpu.poisoned(2L * dw_EOI.length);
        gpu.stream.launch(GroupedGemm.forward(blocks, sizes, x, w, at, y));
        gpu.stream.launch(GroupedGemm.inputGradient(blocks, sizes, dy, w, at, dx));
        gpu.stream.launch(GroupedGemm.weightGradient(blocks, sizes, dy, x, at, dw));
        assertClose("y", gpu.fromBf16(y), y_SO, 1e-2);
        assertUntouched("y", gpu.fromBf16(y), y_SO.length);
        assertClose("dx", gpu.fromBf16(dx), dx_SI, 1e-2);
        assertUntouched("dx", gpu.fromBf16(dx), dx_SI.length);
        assertClose("dw", gpu.fromBf16(dw), dw_EOI, 1e-2);
        DeviceBuffer sum = gpu.poisoned(4L * dw_EOI.length);
        for (boolean accumulate : new boolean[] {false, true, true}) {
          gpu.stream.launch(
              GroupedGemm.weightGradientFloat32(blocks, sizes, dy, x, at, sum, accumulate));
        }
        double[] thrice = Arrays.stream(dw_EOI).map(v -> 3 * v).toArray();
        assertClose("dw of three micro-batches", gpu.fromFloats(sum), thrice, 1e-5);
      }

      for (GroupedGemm.Inputs type : GroupedGemm.Inputs.values()) {
        boolean bf16 = type == GroupedGemm.Inputs.BF16;
        DeviceBuffer xp = bf16 ? x : gpu.floats(withPoison(x_SI, c.spare, i));
        DeviceBuffer wp = bf16 ? w : gpu.floats(w_EOI);
        DeviceBuffer dyp = bf16 ? dy : gpu.floats(withPoison(dy_SO, c.spare, o));
        DeviceBuffer y = gpu.poisoned(4L * sizes.rows() * o);
        DeviceBuffer dx = gpu.poisoned(4L * sizes.rows() * i);
        DeviceBuffer dw = gpu.poisoned(4L * dw_EOI.length);
        gpu.stream.launch(GroupedGemm.forwardPlain(type, sizes, xp, wp, at, y));
        gpu.stream.launch(GroupedGemm.inputGradientPlain(type, sizes, dyp, wp, at, dx));
        gpu.stream.launch(GroupedGemm.weightGradientPlain(type, sizes, dyp, xp, at, dw));
        assertClose("plain y", gpu.fromFloats(y), y_SO, 1e-5);
        assertUntouched("plain y", gpu.fromFloats(y), y_SO.length);
        assertClose("plain dx", gpu.fromFloats(dx), dx_SI, 1e-5);
        assertClose("plain dw", gpu.fromFloats(dw), dw_EOI, 1e-5);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void theFusedSwiGluGivesTheActivationOfItsOwnProducts(Case c) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(11);
      int s = c.used();
      int e = c.rows.size();
      int i = c.inputs;
      int f = c.outputs / 2;
      float[] x_SI = Gpu.normal(random, s * i);
      float[] w_EGI = Gpu.normal(random, e * 2 * f * i);
      for (int j = 0; j < w_EGI.length; j++) {
        w_EGI[j] *= 0.125f; // exact in bf16; keeps the gate out of saturation
      }
      double[] h_SG = new double[s * 2 * f];
      double[] a_SF = new double[s * f];
      int[] offsets = c.offsets();
      for (int g = 0; g < e; g++) {
        for (int r = offsets[g]; r < offsets[g + 1]; r++) {
          for (int q = 0; q < 2 * f; q++) {
            for (int p = 0; p < i; p++) {
              h_SG[r * 2 * f + q] += (double) x_SI[r * i + p] * w_EGI[(g * 2 * f + q) * i + p];
            }
          }
          for (int q = 0; q < f; q++) {
            double gate = h_SG[r * 2 * f + q];
            a_SF[r * f + q] = gate / (1 + Math.exp(-gate)) * h_SG[r * 2 * f + f + q];
          }
        }
      }
      GroupedGemm.Sizes sizes = c.sizes();
      DeviceBuffer x = gpu.bf16(withPoison(x_SI, c.spare, i));
      DeviceBuffer w = gpu.bf16(w_EGI);
      DeviceBuffer at = gpu.ints(offsets);
      for (int blocks : new int[] {5, 6}) {
        DeviceBuffer h = gpu.poisoned(4L * sizes.rows() * f);
        DeviceBuffer a = gpu.poisoned(2L * sizes.rows() * f);
        gpu.stream.launch(GroupedGemm.forwardSwiGlu(blocks, sizes, x, w, at, h, a));
        assertClose("h", gpu.fromBf16(h), h_SG, 1e-2);
        assertUntouched("h", gpu.fromBf16(h), h_SG.length);
        assertClose("a", gpu.fromBf16(a), a_SF, 1e-2);
        assertUntouched("a", gpu.fromBf16(a), a_SF.length);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void theFusedGradientOfSwiGluGivesWhatItsFormulasSay(Case c) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(13);
      int s = c.used();
      int e = c.rows.size();
      int f = c.inputs;
      int o = c.outputs;
      float[] dy_SO = Gpu.normal(random, s * o);
      float[] w_EOF = Gpu.normal(random, e * o * f);
      float[] h_SG = Gpu.normal(random, s * 2 * f);
      GroupedGemm.Sizes sizes = c.sizes();
      int parts = GroupedGemm.dweightParts(f);
      float[] weight = Gpu.normal(random, sizes.rows());
      int[] order = new int[sizes.rows()];
      Arrays.setAll(order, r -> sizes.rows() - 1 - r);
      for (boolean weighted : new boolean[] {true, false}) {
        double[] dh_SG = new double[s * 2 * f];
        double[] scaled_SF = new double[s * f];
        double[] dweight = new double[sizes.rows()];
        int[] offsets = c.offsets();
        for (int g = 0; g < e; g++) {
          for (int r = offsets[g]; r < offsets[g + 1]; r++) {
            double factor = weighted ? weight[order[r]] : 1;
            for (int q = 0; q < f; q++) {
              double u = 0;
              for (int p = 0; p < o; p++) {
                u += (double) dy_SO[r * o + p] * w_EOF[(g * o + p) * f + q];
              }
              double gate = h_SG[r * 2 * f + q];
              double up = h_SG[r * 2 * f + f + q];
              double sigma = 1 / (1 + Math.exp(-gate));
              double a = gate * sigma * up;
              dh_SG[r * 2 * f + q] = factor * u * up * sigma * (1 + gate * (1 - sigma));
              dh_SG[r * 2 * f + f + q] = factor * u * gate * sigma;
              scaled_SF[r * f + q] = factor * a;
              dweight[order[r]] += u * a;
            }
          }
        }
        DeviceBuffer dy = gpu.bf16(withPoison(dy_SO, c.spare, o));
        DeviceBuffer w = gpu.bf16(w_EOF);
        DeviceBuffer h = gpu.bf16(withPoison(h_SG, c.spare, 2 * f));
        DeviceBuffer at = gpu.ints(offsets);
        DeviceBuffer order_S = weighted ? gpu.ints(order) : Dispatch.NONE;
        DeviceBuffer weight_S = weighted ? gpu.floats(weight) : Dispatch.NONE;
        for (int blocks : new int[] {3, 4, gpu.device.multiprocessors()}) {
          DeviceBuffer dh = gpu.poisoned(4L * sizes.rows() * f);
          DeviceBuffer scaled = gpu.poisoned(2L * sizes.rows() * f);
          DeviceBuffer dw = weighted ? gpu.poisoned(4L * parts * sizes.rows()) : Dispatch.NONE;
          gpu.stream.launch(
              GroupedGemm.inputGradientSwiGlu(
                  blocks, sizes, dy, w, at, h, order_S, weight_S, dh, scaled, dw));
          assertClose("dh", gpu.fromBf16(dh), dh_SG, 1e-2);
          assertUntouched("dh", gpu.fromBf16(dh), dh_SG.length);
          assertClose("scaled", gpu.fromBf16(scaled), scaled_SF, 1e-2);
          assertUntouched("scaled", gpu.fromBf16(scaled), scaled_SF.length);
          if (weighted) {
            float[] part = gpu.fromFloats(dw);
            float[] sum = new float[sizes.rows()];
            for (int r = 0; r < sizes.rows(); r++) {
              for (int p = 0; p < parts && r < s; p++) {
                sum[order[r]] += part[p * sizes.rows() + order[r]];
              }
            }
            assertClose("dweight", sum, dweight, 1e-4);
          }
        }
      }
    }
  }
}
