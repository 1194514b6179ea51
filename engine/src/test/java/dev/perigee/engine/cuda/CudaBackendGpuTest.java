package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.backend.AdamWRule;
import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.backend.ExpertRows;
import dev.perigee.engine.backend.MuonRule;
import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.backend.RouterShape;
import dev.perigee.engine.backend.Sum;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.assertj.core.data.Offset;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * On a GPU: every operation, forward and backward, beside the CPU's on the same random numbers,
 * with poison where results go. Relative Frobenius error 1e-5 where numbers are float32, 1e-2 where
 * products round to bf16.
 */
class CudaBackendGpuTest {
  private static final double EXACT = 1e-5;

  /** Ways to multiply. */
  enum Mode {
    FP32_LIBRARY,
    FP32_TILED,
    BF16_LIBRARY,
    BF16_TILED,

    /** Tensors of bf16 numbers too, where the kernels that move sixteen bytes can take them. */
    ROUNDED,

    /** The same elsewhere in memory: only plain kernels can. */
    ROUNDED_ASKEW;

    boolean isRounded() {
      return this == ROUNDED || this == ROUNDED_ASKEW;
    }

    /** Elements before a tensor in its memory. */
    int offset() {
      return this == ROUNDED ? 8 : 3; // views need not be aligned
    }

    /** Tolerance of an operation that multiplies no matrices. */
    double exact() {
      return isRounded() ? 1e-2 : EXACT;
    }

    Precision precision() {
      return name().startsWith("FP32") ? Precision.FP32 : Precision.BF16;
    }

    /** Tolerance of an operation that multiplies matrices. */
    double product() {
      return precision() == Precision.FP32 ? EXACT : 1e-2;
    }

    /** A backend that multiplies so. */
    private CudaBackend open() {
      Device device = Device.open(0);
      DeviceArena memory = device.arena();
      Optional<Cublas> cublas = Cublas.load(device.compute(), memory);
      assumeTrue(!name().endsWith("LIBRARY") || cublas.isPresent(), "no cuBLAS");
      Product product =
          cublas.isPresent() && !name().endsWith("TILED")
              ? cublas.get()
              : new TiledProduct(device.compute());
      return CudaBackend.on(device, memory, product, precision());
    }
  }

  private static final Map<Mode, CudaBackend> BACKENDS = new EnumMap<>(Mode.class);

  @BeforeAll
  static void aGpu() {
    Optional<String> why = Cuda.whyAbsent();
    assumeTrue(why.isEmpty(), () -> why.orElse(""));
  }

  @AfterAll
  static void close() {
    BACKENDS.values().forEach(CudaBackend::close);
    BACKENDS.clear();
  }

  /** The same numbers on the CPU and on the GPU. */
  private record Pair(String name, Tensor cpu, Tensor gpu) {
    /** Asserts that the two still agree. */
    void agree(double tolerance) {
      float[] found = gpu.onHost().floats();
      double[] expected = new double[cpu.size()];
      for (int i = 0; i < expected.length; i++) {
        expected[i] = cpu.floats()[cpu.offset() + i];
      }
      Gpu.assertClose(name + " " + cpu, found, expected, tolerance);
    }
  }

  /** One operation at a time on both. */
  private static final class Both {
    final Backend cpu = new CpuBackend();
    final CudaBackend gpu;
    private final Mode mode;
    private final Random random = new Random(11);

    Both(Mode mode) {
      this.mode = mode;
      gpu = BACKENDS.computeIfAbsent(mode, Mode::open);
    }

    Pair of(String name, float[] numbers, int... shape) {
      return at(mode.offset(), mode.isRounded(), name, numbers, shape);
    }

    /** Float32 numbers whatever others are: statistics, scores, gradients of weights. */
    Pair floats(String name, int... shape) {
      return at(mode.offset(), false, name, normal(shape), shape);
    }

    /** Where such a result goes. */
    Pair poisonFloats(String name, int... shape) {
      float[] numbers = new float[size(shape)];
      Arrays.fill(numbers, Float.NaN);
      return at(mode.offset(), false, name, numbers, shape);
    }

    /** So many elements into a larger tensor. */
    private Pair at(int offset, boolean rounded, String name, float[] numbers, int... shape) {
      Tensor host = Tensor.zeros(numbers.length + offset);
      System.arraycopy(numbers, 0, host.floats(), offset, numbers.length);
      Tensor device =
          rounded
              ? gpu.arena().region().take(numbers.length + offset)
              : gpu.zeros(numbers.length + offset);
      device.assign(host);
      if (rounded) { // the CPU gets the same numbers
        System.arraycopy(device.onHost().floats(), 0, host.floats(), 0, host.size());
      }
      return new Pair(
          name,
          new Tensor(host.storage(), offset, shape),
          new Tensor(device.storage(), offset, shape));
    }

    Pair random(String name, int... shape) {
      return of(name, normal(shape), shape);
    }

    /** At an address that the copy engine takes. */
    Pair aligned(String name, int... shape) {
      return at(4, false, name, normal(shape), shape);
    }

    private float[] normal(int... shape) {
      float[] numbers = new float[size(shape)];
      for (int i = 0; i < numbers.length; i++) {
        numbers[i] = (float) random.nextGaussian();
      }
      return numbers;
    }

    /** Where a result goes: NaN, so that what is not written or is read shows. */
    Pair poison(String name, int... shape) {
      float[] numbers = new float[size(shape)];
      Arrays.fill(numbers, Float.NaN);
      return of(name, numbers, shape);
    }

    int[] integers(int n, int bound) {
      return random.ints(n, 0, bound).toArray();
    }

    private static int size(int... shape) {
      return Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    }
  }

  @ParameterizedTest
  @EnumSource
  void vectors(Mode mode) {
    Both both = new Both(mode);
    for (int n : new int[] {1, 31, 1000, 1_048_577, 3_000_001}) {
      Pair x = both.random("x", n);
      Pair y = both.random("y", n);
      both.cpu.add(x.cpu, y.cpu);
      both.gpu.add(x.gpu, y.gpu);
      y.agree(mode.exact());
      both.cpu.axpby(0.5f, x.cpu, -2, y.cpu);
      both.gpu.axpby(0.5f, x.gpu, -2, y.gpu);
      y.agree(mode.exact());
      both.cpu.axpby(0, y.cpu, 3, y.cpu);
      both.gpu.axpby(0, y.gpu, 3, y.gpu);
      y.agree(mode.exact());
      double sum = both.cpu.sumOfSquares(y.cpu);
      assertThat(both.gpu.sumOfSquares(y.gpu))
          .isCloseTo(sum, within(sum * (mode.isRounded() ? 3e-2 : 1e-6)));
      assertThat(both.gpu.sumOfSquares(y.gpu)).isEqualTo(both.gpu.sumOfSquares(y.gpu));
      Pair z = both.poison("z", n);
      both.cpu.copy(y.cpu, z.cpu);
      both.gpu.copy(y.gpu, z.gpu);
      z.agree(mode.exact());
      both.cpu.fill(z.cpu, 7);
      both.gpu.fill(z.gpu, 7);
      z.agree(0.5e-7);
    }
    Pair bad = both.of("bad", new float[] {1, Float.NaN, 2}, 3);
    assertThat(both.gpu.sumOfSquares(bad.gpu)).isNaN();
    Pair none = both.of("none", new float[0], 0);
    both.gpu.add(none.gpu, none.gpu);
    assertThat(both.gpu.sumOfSquares(none.gpu)).isZero();
  }

  private static Offset<Double> within(double x) {
    return Offset.offset(x);
  }

  @ParameterizedTest
  @EnumSource
  void adamW(Mode mode) {
    Both both = new Both(mode);
    int n = 100_003;
    Pair g = both.floats("g", n);
    Pair m = both.floats("m", n);
    Pair v = both.floats("v", n);
    both.cpu.axpby(0, v.cpu, 0, v.cpu);
    both.gpu.axpby(0, v.gpu, 0, v.gpu);
    Pair w = both.floats("w", n);
    Tensor kept = both.gpu.weights(n); // with a rounded copy
    kept.assign(w.cpu);
    Tensor mean = both.gpu.zeros(n);
    Tensor square = both.gpu.zeros(n);
    mean.assign(m.cpu);
    AdamWRule rule = new AdamWRule(0.9f, 0.95f, 1e-8f, 0.1);
    Rates there = both.gpu.rates();
    Rates here = both.cpu.rates();
    for (int step = 1; step <= 3; step++) {
      Rates.Values values = new Rates.Values(1e-2 / step, 0.5, 0.9, 0.6);
      here.set(values);
      there.set(values);
      both.cpu.adamW(rule, here, g.cpu, m.cpu, v.cpu, w.cpu);
      both.gpu.adamW(rule, there, g.gpu, m.gpu, v.gpu, w.gpu);
      both.gpu.adamW(rule, there, g.gpu, mean, square, kept);
    }
    m.agree(mode.exact());
    v.agree(mode.exact());
    w.agree(mode.exact());
    assertThat(kept.onHost().floats()).isEqualTo(w.gpu.onHost().floats());
    Tensor one = both.gpu.zeros(1, 1); // a product reads the rounded copy
    one.assign(Tensor.of(new float[] {1}, 1, 1));
    Tensor y = both.gpu.zeros(1, n);
    both.gpu.linear(one, kept.view(n, 1), y);
    Gpu.assertClose("the copy", y.onHost().floats(), doubles(w.gpu.onHost()), mode.product());
  }

  @ParameterizedTest
  @EnumSource
  void columnsAndRows(Mode mode) {
    Both both = new Both(mode);
    for (int[] s : new int[][] {{1, 1, 1}, {37, 5, 3}, {130, 512, 64}}) {
      Pair x = both.random("x", s[0], s[1] + s[2]);
      Pair left = both.poison("left", s[0], s[1]);
      Pair right = both.poison("right", s[0], s[2]);
      both.cpu.splitColumns(x.cpu, left.cpu, right.cpu);
      both.gpu.splitColumns(x.gpu, left.gpu, right.gpu);
      left.agree(mode.exact());
      right.agree(mode.exact());
      Pair joined = both.poison("joined", s[0], s[1] + s[2]);
      both.cpu.joinColumns(left.cpu, right.cpu, joined.cpu);
      both.gpu.joinColumns(left.gpu, right.gpu, joined.gpu);
      joined.agree(mode.exact());
      Indices rows = Indices.of(both.integers(2 * s[0], s[0]));
      Pair gathered = both.poison("gathered", rows.size(), s[1] + s[2]);
      both.cpu.gatherRows(x.cpu, rows, gathered.cpu);
      both.gpu.gatherRows(x.gpu, rows, gathered.gpu);
      gathered.agree(mode.exact());
    }
  }

  @ParameterizedTest
  @EnumSource
  void products(Mode mode) {
    Both both = new Both(mode);
    for (int[] s :
        new int[][] {{1, 1, 1}, {3, 5, 7}, {65, 130, 33}, {200, 17, 129}, {256, 512, 384}}) {
      for (int t = 0; t < 4; t++) {
        boolean ta = t % 2 == 1;
        boolean tb = t / 2 == 1;
        Pair a = ta ? both.random("a", s[2], s[0]) : both.random("a", s[0], s[2]);
        Pair b = tb ? both.random("b", s[1], s[2]) : both.random("b", s[2], s[1]);
        Pair c = both.poison("c", s[0], s[1]);
        both.cpu.matmul(1.5f, a.cpu, ta, b.cpu, tb, 0, c.cpu);
        both.gpu.matmul(1.5f, a.gpu, ta, b.gpu, tb, 0, c.gpu);
        c.agree(mode.product());
        both.cpu.matmul(-1, a.cpu, ta, b.cpu, tb, 0.5f, c.cpu);
        both.gpu.matmul(-1, a.gpu, ta, b.gpu, tb, 0.5f, c.gpu);
        c.agree(mode.product());
      }
    }
    Pair x = both.random("x", 40, 9);
    Pair square = both.poison("square", 40, 40);
    both.cpu.matmul(1, x.cpu, false, x.cpu, true, 0, square.cpu);
    both.gpu.matmul(1, x.gpu, false, x.gpu, true, 0, square.gpu);
    square.agree(mode.product());
    Pair empty = both.random("empty", 0, 9);
    Pair sum = both.random("sum", 9, 9);
    both.cpu.linearBackwardWeight(empty.cpu, empty.cpu, sum.cpu);
    both.gpu.linearBackwardWeight(empty.gpu, empty.gpu, sum.gpu);
    sum.agree(mode.exact());
  }

  @ParameterizedTest
  @EnumSource
  void groupedProducts(Mode mode) {
    Both both = new Both(mode);
    List<int[]> routings = new ArrayList<>();
    routings.add(new int[] {3, 0, 130, 1, 0, 64}); // some without rows
    routings.add(new int[] {0, 0, 0, 300, 0, 0}); // one with everything
    routings.add(new int[] {0, 0, 0, 0, 0, 0});
    routings.add(new int[] {50, 51, 52, 53, 54, 55});
    for (int[] rows : routings) {
      int s = Arrays.stream(rows).sum();
      int[] first = new int[rows.length + 1];
      for (int e = 0; e < rows.length; e++) {
        first[e + 1] = first[e] + rows[e];
      }
      Indices offsets = Indices.of(first);
      for (int[] width : new int[][] {{24, 56}, {21, 18}, {136, 272}}) {
        int i = width[0];
        int o = width[1];
        Pair x = both.random("x", s, i);
        Pair w = both.random("w", rows.length, o, i);
        Pair y = both.poison("y", s, o);
        both.cpu.groupedLinear(x.cpu, w.cpu, offsets, y.cpu);
        both.gpu.groupedLinear(x.gpu, w.gpu, offsets, y.gpu);
        y.agree(mode.product());
        Pair dy = both.random("dy", s, o);
        Pair dx = both.poison("dx", s, i);
        both.cpu.groupedLinearBackwardInput(dy.cpu, w.cpu, offsets, dx.cpu);
        both.gpu.groupedLinearBackwardInput(dy.gpu, w.gpu, offsets, dx.gpu);
        dx.agree(mode.product());
        for (Pair dw :
            List.of(both.floats("dw", rows.length, o, i), both.aligned("dw", rows.length, o, i))) {
          both.cpu.groupedLinearBackwardWeight(dy.cpu, x.cpu, offsets, dw.cpu);
          both.gpu.groupedLinearBackwardWeight(dy.gpu, x.gpu, offsets, dw.gpu);
          dw.agree(mode.product());
        }
        Pair gu = both.poison("gu", s, o);
        Pair h = both.poison("h", s, o / 2);
        both.cpu.groupedSwiGlu(x.cpu, w.cpu, offsets, gu.cpu, h.cpu);
        both.gpu.groupedSwiGlu(x.gpu, w.gpu, offsets, gu.gpu, h.gpu);
        gu.agree(mode.product());
        h.agree(mode.product());
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void embedding(Mode mode) {
    Both both = new Both(mode);
    int[] few = {4, 0, 4, 4, 6, 0, 1};
    for (int[] ids : new int[][] {few, {3}, both.integers(5000, 7), {}}) {
      Indices tokens = Indices.of(ids);
      Pair w = both.floats("w", 7, 33);
      Pair y = both.poison("y", ids.length, 33);
      both.cpu.embedding(tokens, w.cpu, y.cpu);
      both.gpu.embedding(tokens, w.gpu, y.gpu);
      y.agree(mode.exact());
      Pair dy = both.random("dy", ids.length, 33);
      both.cpu.embeddingBackward(tokens, dy.cpu, w.cpu);
      both.gpu.embeddingBackward(tokens, dy.gpu, w.gpu);
      w.agree(mode.exact());
    }
  }

  @ParameterizedTest
  @EnumSource
  void rmsNorm(Mode mode) {
    Both both = new Both(mode);
    for (int[] s : new int[][] {{1, 1}, {3, 33}, {65, 512}, {700, 130}, {5000, 70}, {17, 7168}}) {
      Pair x = both.random("x", s);
      Pair gain = both.floats("gain", s[1]);
      Pair y = both.poison("y", s);
      Pair scale = both.poisonFloats("scale", s[0]);
      both.cpu.rmsNorm(x.cpu, gain.cpu, 1e-5f, y.cpu, scale.cpu);
      both.gpu.rmsNorm(x.gpu, gain.gpu, 1e-5f, y.gpu, scale.gpu);
      y.agree(mode.exact());
      scale.agree(mode.exact());
      Pair dy = both.random("dy", s);
      Pair dx = both.poison("dx", s);
      both.cpu.rmsNormBackwardInput(dy.cpu, x.cpu, gain.cpu, scale.cpu, dx.cpu, false);
      both.gpu.rmsNormBackwardInput(dy.gpu, x.gpu, gain.gpu, scale.gpu, dx.gpu, false);
      if (s[1] > 1) { // of one number it is what rounding leaves of zero
        dx.agree(mode.exact());
      }
      both.cpu.rmsNormBackwardInput(dy.cpu, x.cpu, gain.cpu, scale.cpu, dy.cpu, true);
      both.gpu.rmsNormBackwardInput(dy.gpu, x.gpu, gain.gpu, scale.gpu, dy.gpu, true);
      dy.agree(mode.exact());
      both.cpu.rmsNormBackwardWeight(dy.cpu, x.cpu, scale.cpu, gain.cpu);
      both.gpu.rmsNormBackwardWeight(dy.gpu, x.gpu, scale.gpu, gain.gpu);
      gain.agree(mode.exact());
    }
  }

  @ParameterizedTest
  @EnumSource
  void swiGlu(Mode mode) {
    Both both = new Both(mode);
    for (int[] s : new int[][] {{1, 1}, {3, 33}, {70, 1408}}) {
      Pair gu = both.random("gu", s[0], 2 * s[1]);
      Pair h = both.poison("h", s);
      both.cpu.swiGlu(gu.cpu, h.cpu);
      both.gpu.swiGlu(gu.gpu, h.gpu);
      h.agree(mode.exact());
      Pair dgu = both.poison("dgu", s[0], 2 * s[1]);
      both.cpu.swiGluBackward(h.cpu, gu.cpu, dgu.cpu);
      both.gpu.swiGluBackward(h.gpu, gu.gpu, dgu.gpu);
      dgu.agree(mode.exact());
    }
  }

  @ParameterizedTest
  @EnumSource
  void rotation(Mode mode) {
    Both both = new Both(mode);
    for (int[] s : new int[][] {{1, 1, 4, 2}, {9, 3, 12, 2}, {40, 5, 192, 32}}) {
      int rows = s[0];
      Pair x = both.random("x", rows, s[1] * s[2]);
      Pair cos = both.floats("cos", 11, s[3]);
      Pair sin = both.floats("sin", 11, s[3]);
      Indices positions = Indices.of(both.integers(rows, 11));
      both.cpu.rotate(x.cpu, s[2], positions, cos.cpu, sin.cpu, false);
      both.gpu.rotate(x.gpu, s[2], positions, cos.gpu, sin.gpu, false);
      x.agree(mode.exact());
      both.cpu.rotate(x.cpu, s[2], positions, cos.cpu, sin.cpu, true);
      both.gpu.rotate(x.gpu, s[2], positions, cos.gpu, sin.gpu, true);
      x.agree(mode.exact());
    }
  }

  @ParameterizedTest
  @EnumSource
  void attention(Mode mode) {
    Both both = new Both(mode);
    for (AttentionShape s :
        List.of(
            new AttentionShape(1, 1, 1, 3, 2, 5, 0.7f),
            new AttentionShape(3, 17, 2, 5, 4, 3, 0.4f),
            new AttentionShape(2, 131, 3, 16, 8, 24, 0.2f),
            new AttentionShape(1, 300, 2, 128, 64, 128, 0.07f))) {
      int t = s.batch() * s.length();
      int heads = s.heads();
      Pair q = both.random("q", t, heads * (s.nope() + s.rope()));
      Pair kv = both.random("kv", t, heads * (s.nope() + s.value()));
      Pair k = both.random("k", t, s.rope());
      Pair out = both.poison("out", t, heads * s.value());
      Tensor p = Tensor.zeros(s.probabilities());
      Tensor kept = both.gpu.zeros(both.gpu.attentionMemory(s));
      Pair most = both.floats("largest logits", heads);
      most.cpu.assign(Tensor.of(new float[heads], heads));
      most.cpu.floats()[most.cpu.offset()] = 1e6f;
      most.gpu.assign(most.cpu);
      both.cpu.attention(s, q.cpu, kv.cpu, k.cpu, out.cpu, p, most.cpu);
      both.gpu.attention(s, q.gpu, kv.gpu, k.gpu, out.gpu, kept, most.gpu);
      out.agree(mode.product());
      float[] expected = most.cpu.onHost().floats();
      float[] found = most.gpu.onHost().floats();
      for (int h = 0; h < heads; h++) {
        assertThat(found[h])
            .as("largest logit of head %d of %s", h, s)
            .isCloseTo(expected[most.cpu.offset() + h], Percentage.withPercentage(1));
      }
      assertThat(found[0]).isEqualTo(1e6f);
      Pair dout = both.random("dout", t, heads * s.value());
      Pair dq = both.poison("dq", t, heads * (s.nope() + s.rope()));
      Pair dkv = both.poison("dkv", t, heads * (s.nope() + s.value()));
      Pair dk = both.poison("dk", t, s.rope());
      both.cpu.attentionBackward(
          s, dout.cpu, q.cpu, kv.cpu, k.cpu, out.cpu, p, dq.cpu, dkv.cpu, dk.cpu);
      both.gpu.attentionBackward(
          s, dout.gpu, q.gpu, kv.gpu, k.gpu, out.gpu, kept, dq.gpu, dkv.gpu, dk.gpu);
      if (s.length() > 1) { // of one token the gradient of the logit is zero
        dq.agree(mode.product());
        dk.agree(mode.product());
      }
      dkv.agree(mode.product());
    }
  }

  @ParameterizedTest
  @EnumSource
  void decoding(Mode mode) {
    Both both = new Both(mode);
    int[][] sizes = {
      {1, 1, 3, 2, 5, 7, 1, 1},
      {3, 2, 5, 4, 3, 6, 9, 7},
      {4, 16, 128, 64, 128, 512, 80, 70},
      {5, 16, 128, 64, 128, 512, 192, 190} // pages
    };
    for (int[] z : sizes) {
      AttentionShape s = new AttentionShape(z[0], 1, z[1], z[2], z[3], z[4], 0.1f);
      int rank = z[5];
      Pair q = both.random("q", z[0], z[1] * (z[2] + z[3]));
      Pair w = both.random("w", z[1] * (z[2] + z[4]), rank);
      both.cpu.axpby(0, w.cpu, 0.1f, w.cpu);
      both.gpu.axpby(0, w.gpu, 0.1f, w.gpu);
      Pair cache = both.random("cache", z[0], z[6], rank + z[3]);
      Pair out = both.poison("out", z[0], z[1] * z[4]);
      int[] lengths = new int[z[0]];
      Arrays.setAll(lengths, b -> b == 0 ? z[7] : 1 + both.integers(1, z[7])[0]);
      Indices length_B = Indices.of(lengths);
      both.cpu.latentAttention(s, q.cpu, w.cpu, cache.cpu, length_B, z[7], out.cpu);
      both.gpu.latentAttention(s, q.gpu, w.gpu, cache.gpu, length_B, z[7], out.gpu);
      out.agree(mode.product());
    }
  }

  @ParameterizedTest
  @EnumSource
  void routing(Mode mode) {
    Both both = new Both(mode);
    for (RouterShape s :
        List.of(
            new RouterShape(5, 2, 1, 1, true, 1.3f),
            new RouterShape(64, 6, 1, 1, true, 2.4f),
            new RouterShape(384, 8, 1, 1, false, 2.8f),
            new RouterShape(12, 3, 4, 2, true, 1),
            new RouterShape(256, 8, 8, 4, true, 2.5f),
            new RouterShape(6, 2, 6, 3, true, 1))) {
      int t = 257;
      Pair logits = both.floats("scores", t, s.experts());
      Pair bias = both.floats("bias", s.experts());
      Pair weight = both.poisonFloats("weight", t, s.chosen());
      Indices chosen = both.cpu.route(s, logits.cpu, bias.cpu, weight.cpu);
      Indices chosenGpu = both.gpu.route(s, logits.gpu, bias.gpu, weight.gpu);
      assertThat(chosenGpu.onHost()).as("%s", s).isEqualTo(chosen.onHost());
      logits.agree(EXACT);
      weight.agree(EXACT);
      Pair dweight = both.floats("dweight", t, s.chosen());
      Pair dlogits = both.poison("dlogits", t, s.experts());
      both.cpu.routeBackward(s, dweight.cpu, logits.cpu, chosen, dlogits.cpu);
      both.gpu.routeBackward(s, dweight.gpu, logits.gpu, chosenGpu, dlogits.gpu);
      dlogits.agree(mode.exact());
      ExpertRows rows = both.cpu.expertRows(chosen, s.experts());
      ExpertRows rowsGpu = both.gpu.expertRows(chosenGpu, s.experts());
      assertThat(rowsGpu.offsets_E1().onHost()).isEqualTo(rows.offsets_E1().onHost());
      assertThat(rowsGpu.slot_TK().onHost()).isEqualTo(rows.slot_TK().onHost());
      assertThat(rowsGpu.pair_S().onHost()).isEqualTo(rows.pair_S().onHost());
      Pair count = both.floats("count", s.experts());
      both.cpu.countRows(rows.offsets_E1(), count.cpu);
      both.gpu.countRows(rowsGpu.offsets_E1(), count.gpu);
      count.agree(EXACT);
    }
    RouterShape ties = new RouterShape(40, 3, 1, 1, true, 1);
    Pair equal = both.floats("equal", 1, 40);
    both.gpu.fill(equal.gpu, 0);
    assertThat(both.gpu.route(ties, equal.gpu, both.gpu.zeros(40), both.gpu.zeros(1, 3)).onHost())
        .as("equal scores choose the lower index")
        .containsExactly(0, 1, 2);
    Pair bad = both.poisonFloats("bad", 1, 40);
    Tensor weight = both.gpu.zeros(1, 3);
    for (int e : both.gpu.route(ties, bad.gpu, both.gpu.zeros(40), weight).onHost()) {
      assertThat(e).as("an expert for scores that are not numbers").isBetween(0, 39);
    }
    assertThat(weight.onHost().floats()).containsOnly(Float.NaN);
  }

  @ParameterizedTest
  @EnumSource
  void combining(Mode mode) {
    Both both = new Both(mode);
    for (int[] z : new int[][] {{1, 1, 1}, {7, 3, 33}, {300, 6, 520}}) {
      int t = z[0];
      int k = z[1];
      int[] slot = new int[t * k];
      for (int i = 0; i < slot.length; i++) {
        slot[i] = (int) ((i * 7L + 3) % slot.length); // each once
      }
      if (slot.length % 7 == 0) {
        Arrays.setAll(slot, i -> slot.length - 1 - i);
      }
      Indices slots = Indices.of(slot);
      Pair x = both.random("x", t * k, z[2]);
      Pair weight = both.floats("weight", t, k);
      Pair y = both.random("y", t, z[2]);
      both.cpu.combineRows(x.cpu, slots, weight.cpu, y.cpu);
      both.gpu.combineRows(x.gpu, slots, weight.gpu, y.gpu);
      y.agree(mode.exact());
      both.cpu.combineRows(x.cpu, slots, null, y.cpu);
      both.gpu.combineRows(x.gpu, slots, null, y.gpu);
      y.agree(mode.exact());
      Pair dx = both.poison("dx", t * k, z[2]);
      Pair dweight = both.poisonFloats("dweight", t, k);
      both.cpu.combineRowsBackward(y.cpu, x.cpu, slots, weight.cpu, dx.cpu, dweight.cpu);
      both.gpu.combineRowsBackward(y.gpu, x.gpu, slots, weight.gpu, dx.gpu, dweight.gpu);
      dx.agree(mode.exact());
      dweight.agree(mode.exact());
      Pair spread = both.poison("spread", t * k, z[2]);
      both.cpu.spreadRows(y.cpu, slots, spread.cpu);
      both.gpu.spreadRows(y.gpu, slots, spread.gpu);
      spread.agree(mode.exact());
    }
  }

  @ParameterizedTest
  @EnumSource
  void crossEntropy(Mode mode) {
    Both both = new Both(mode);
    for (int[] z : new int[][] {{1, 2}, {9, 33}, {64, 5003}}) {
      int[] targets = both.integers(z[0], z[1]);
      targets[z[0] / 2] = z[0] > 1 ? -1 : targets[0];
      Sum expected = both.cpu.sum();
      Sum loss = both.gpu.sum();
      for (int twice = 0; twice < 2; twice++) { // it adds
        Pair logits = both.floats("logits", z);
        both.cpu.crossEntropy(logits.cpu, Indices.of(targets), 0.3f, expected);
        both.gpu.crossEntropy(logits.gpu, Indices.of(targets), 0.3f, loss);
        logits.agree(mode.exact());
      }
      assertThat(loss.value()).isCloseTo(expected.value(), within(expected.value() * 1e-6));
    }
    Pair bad = both.of("bad", new float[] {1, Float.NaN, 2}, 1, 3);
    Sum loss = both.gpu.sum();
    both.gpu.crossEntropy(bad.gpu, Indices.of(0), 1, loss);
    assertThat(loss.value()).isNaN();
    loss.clear();
    assertThat(loss.value()).isZero();
  }

  @ParameterizedTest
  @EnumSource
  void linearCrossEntropy(Mode mode) {
    Both both = new Both(mode);
    for (int[] z : new int[][] {{9, 40, 33}, {300, 128, 4104}, {2500, 64, 4096}}) {
      Pair x = both.random("x", z[0], z[1]);
      Pair w = both.aligned("w", z[2], z[1]);
      both.cpu.axpby(0, w.cpu, 0.2f, w.cpu);
      both.gpu.axpby(0, w.gpu, 0.2f, w.gpu);
      int[] targets = both.integers(z[0], z[2]);
      targets[z[0] / 2] = -1;
      Pair dx = both.poison("dx", z[0], z[1]);
      Pair dw = both.aligned("dw", z[2], z[1]);
      Indices target = Indices.of(targets);
      Sum expected = both.cpu.sum();
      Sum loss = both.gpu.sum();
      both.cpu.linearCrossEntropy(x.cpu, w.cpu, target, 0.7f, dx.cpu, dw.cpu, expected);
      both.gpu.linearCrossEntropy(x.gpu, w.gpu, target, 0.7f, dx.gpu, dw.gpu, loss);
      assertThat(loss.value()).isCloseTo(expected.value(), within(expected.value() * 2e-3));
      dx.agree(mode.product());
      dw.agree(mode.product());
    }
  }

  @ParameterizedTest
  @EnumSource
  void muonStepsAreThoseOfProducts(Mode mode) {
    Both both = new Both(mode);
    for (int[] z : new int[][] {{3, 64, 40}, {2, 40, 136}, {1, 33, 20}}) {
      int n = z[0] * z[1] * z[2];
      Tensor weights = both.gpu.weights(n + 8); // a rounded copy is kept
      Pair w = both.floats("w", z);
      Tensor w_BNM = new Tensor(weights.storage(), 8, z);
      w_BNM.assign(
          Tensor.of(Arrays.copyOfRange(w.cpu.floats(), w.cpu.offset(), w.cpu.offset() + n), n));
      Tensor g = both.gpu.zeros(z);
      Tensor m = both.gpu.zeros(z);
      MuonRule rule = new MuonRule(0.95f, true, 5, List.of(3.4445, -4.775, 2.0315), 0.2, 0.1);
      Rates rates = both.gpu.rates();
      rates.set(new Rates.Values(0.1, 0.5, 1, 1));
      boolean fused = both.gpu.muon(rule, rates, g, m, w_BNM);
      assertThat(fused)
          .as("whether %s take the kernel", Arrays.toString(z))
          .isEqualTo(mode.precision() == Precision.BF16 && z[1] % 8 == 0 && z[2] % 8 == 0);
      if (fused) { // without a gradient only decay is left, in the master and in its copy
        both.cpu.axpby(0, w.cpu, 0.99f, w.cpu);
        Gpu.assertClose("w", w_BNM.onHost().floats(), doubles(w.cpu), EXACT);
        Tensor x = both.gpu.zeros(z[0] * z[1], z[0] * z[1]);
        for (int i = 0; i < x.dim(0); i++) {
          x.slice(i, 1).view(x.dim(1)).slice(i, 1).assign(Tensor.of(new float[] {1}, 1));
        }
        Tensor y = both.gpu.zeros(z[0] * z[1], z[2]);
        both.gpu.matmul(1, x, false, w_BNM.view(z[0] * z[1], z[2]), false, 0, y);
        Gpu.assertClose("the rounded copy", y.onHost().floats(), doubles(w.cpu), 5e-3);
      }
    }
  }

  private static double[] doubles(Tensor x) {
    double[] numbers = new double[x.size()];
    Arrays.setAll(numbers, i -> x.floats()[x.offset() + i]);
    return numbers;
  }
}
