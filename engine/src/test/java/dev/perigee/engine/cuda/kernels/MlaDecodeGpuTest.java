package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Gpu.assertClose;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Gpu;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** On a GPU: decoding over a paged latent cache against float64 on the CPU. */
class MlaDecodeGpuTest {
  /** Tokens of each sequence, heads, and multiprocessors, which decide how sequences are cut. */
  record Case(List<Integer> lengths, int heads, int multiprocessors) {}

  static Stream<Case> cases() {
    return Stream.of(
        new Case(List.of(64), 16, 1),
        new Case(List.of(1), 16, 132),
        new Case(List.of(100, 0, 65, 1, 640), 16, 7),
        new Case(List.of(1000), 64, 5), // one sequence in five parts
        new Case(List.of(0, 0), 3, 4), // nothing to attend to
        new Case(List.of(130, 257, 64), 128, 8), // two groups of heads
        new Case(IntStream.range(0, 70).boxed().toList(), 8, 33));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void everySequenceAgreesWithFloat64WhateverItsLengthAndPages(Case c) {
    try (Gpu gpu = new Gpu()) {
      assumeTrue(gpu.device.computeCapability() == 90, "the wgmma kernels are for Hopper");
      Random random = new Random(7);
      int sequences = c.lengths.size();
      int width = Math.max(1, (Collections.max(c.lengths) + 63) / 64);
      int used = c.lengths.stream().mapToInt(l -> (l + 63) / 64).sum();
      int pages = used + 3;
      List<Integer> order = new ArrayList<>(IntStream.range(0, pages).boxed().toList());
      Collections.shuffle(order, random);
      float[] q = Gpu.normal(random, sequences * c.heads * MlaDecode.KEY);
      // What no sequence owns is NaN: it must not reach a result, not even times zero.
      float[] cache = new float[pages * MlaDecode.PAGE * MlaDecode.KEY];
      Arrays.fill(cache, Float.NaN);
      int[] table = new int[sequences * width];
      int next = 0;
      double[] expected = new double[sequences * c.heads * MlaDecode.VALUE];
      float scale = 0.05f;
      for (int b = 0; b < sequences; b++) {
        int length = c.lengths.get(b);
        int[] at = new int[length];
        for (int t = 0; t < length; t++) {
          if (t % MlaDecode.PAGE == 0) {
            table[b * width + t / MlaDecode.PAGE] = order.get(next++);
          }
          int page = table[b * width + t / MlaDecode.PAGE];
          at[t] = (page * MlaDecode.PAGE + t % MlaDecode.PAGE) * MlaDecode.KEY;
          System.arraycopy(Gpu.normal(random, MlaDecode.KEY), 0, cache, at[t], MlaDecode.KEY);
        }
        for (int h = 0; h < c.heads; h++) {
          attend(q, (b * c.heads + h) * MlaDecode.KEY, cache, at, scale, expected, b * c.heads + h);
        }
      }
      MlaDecode decode = new MlaDecode(sequences, c.heads, pages, width, scale);
      DeviceBuffer out = gpu.poisoned(2L * expected.length);
      decode
          .attend(
              c.multiprocessors,
              gpu.bf16(q),
              gpu.bf16(cache),
              gpu.ints(table),
              gpu.ints(c.lengths.stream().mapToInt(Integer::intValue).toArray()),
              out,
              gpu.poisoned(decode.scratchBytes(c.multiprocessors)))
          .forEach(gpu.stream::launch);
      assertClose("out of " + c, gpu.fromBf16(out), expected, 1e-2);
    }
  }

  private static void attend(
      float[] q, int q0, float[] cache, int[] at, float scale, double[] out, int row) {
    double[] weight = new double[at.length];
    double largest = Double.NEGATIVE_INFINITY;
    for (int t = 0; t < at.length; t++) {
      for (int i = 0; i < MlaDecode.KEY; i++) {
        weight[t] += (double) scale * q[q0 + i] * cache[at[t] + i];
      }
      largest = Math.max(largest, weight[t]);
    }
    double sum = 0;
    for (int t = 0; t < at.length; t++) {
      weight[t] = Math.exp(weight[t] - largest);
      sum += weight[t];
    }
    for (int t = 0; t < at.length; t++) {
      for (int i = 0; i < MlaDecode.VALUE; i++) {
        out[row * MlaDecode.VALUE + i] += weight[t] / sum * cache[at[t] + i];
      }
    }
  }
}
