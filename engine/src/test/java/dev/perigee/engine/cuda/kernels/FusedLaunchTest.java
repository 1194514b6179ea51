package dev.perigee.engine.cuda.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.Launcher;
import dev.perigee.engine.cuda.driver.TensorMap;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;

/** What attention, Muon, the loss and the fused passes ask of a GPU, recorded: no GPU needed. */
class FusedLaunchTest {
  /** An H100's limit for a block. */
  private static final int MOST_SHARED = 232448;

  /** Keeps what it is given. */
  private static final class Recorder implements Launcher {
    final List<Launch> launches = new ArrayList<>();

    @Override
    public void launch(Launch launch) {
      launches.add(launch);
    }

    @Override
    public void after(Launcher other) {}

    String kernels() {
      return launches.stream().map(Launch::kernel).collect(Collectors.joining(" "));
    }

    Launch only(String kernel) {
      List<Launch> found = launches.stream().filter(l -> l.kernel().equals(kernel)).toList();
      assertThat(found).as(kernel).hasSize(1);
      return found.getFirst();
    }
  }

  private final Recorder gpu = new Recorder();
  private final DeviceBuffer big = new DeviceBuffer(1 << 20, 1L << 40);

  private static TensorMap map(Launch l, int argument) {
    return ((Launch.Argument.Map) l.arguments().get(argument)).value();
  }

  private static int integer(Launch l, int argument) {
    return ((Launch.Argument.Int32) l.arguments().get(argument)).value();
  }

  private static float real(Launch l, int argument) {
    return ((Launch.Argument.Float32) l.arguments().get(argument)).value();
  }

  @Test
  void attentionReadsHeadsWhereTheProjectionsPutThem() {
    MlaPrefill m = new MlaPrefill(2, 1000, 16, 0.07f);
    m.forward(132, big, big, big, big, big, Dispatch.NONE).forEach(gpu::launch);
    Launch l = gpu.only("mla_prefill_forward");
    assertThat(l.sharedBytes()).isLessThanOrEqualTo(MOST_SHARED);
    assertThat(map(l, 0))
        .as("queries: past a sequence's 1000 rows lies nothing")
        .isEqualTo(new TensorMap(1 << 20, 16 * 192, 1000, 2, 16 * 384, 16L * 384 * 1000, 64, 64));
    assertThat(map(l, 1).x()).as("keys and values").isEqualTo(16 * 256);
    assertThat(map(l, 2).x()).as("the part of the keys that heads share").isEqualTo(64);
    assertThat(m.rowBytes()).as("rows up to 1024").isEqualTo(4L * 2 * 16 * 1024);
    m.backward(132, big, big, big, big, big, big, big, big, big, big).forEach(gpu::launch);
    assertThat(gpu.kernels())
        .isEqualTo(
            "mla_prefill_forward mla_prefill_delta mla_prefill_dkv mla_prefill_dkr mla_prefill_dq");
    assertThat(gpu.only("mla_prefill_dkv").sharedBytes()).isLessThanOrEqualTo(MOST_SHARED);
    assertThat(gpu.only("mla_prefill_delta").grid().x() * 8).isEqualTo(2 * 16 * 1024);
  }

  @Test
  void decodingGivesEveryMultiprocessorABlockOfSomeHeads() {
    MlaDecode k2 = new MlaDecode(64, 64, 4096, 64, 0.07f);
    k2.attend(132, big, big, big, big, big, big).forEach(gpu::launch);
    Launch l = gpu.only("mla_decode");
    assertThat(l.grid()).isEqualTo(new Launch.Dim(132, 1, 1));
    assertThat(l.sharedBytes()).isLessThanOrEqualTo(MOST_SHARED);
    assertThat(map(l, 1))
        .as("pages")
        .isEqualTo(new TensorMap(1 << 20, 576, 64, 4096, 1152, 64 * 1152, 64, 64));
    assertThat(k2.scratchBytes(132))
        .as("a part for each block and sequence")
        .isEqualTo((132L + 64) * 64 * 513 * 4 + 65 * 4);
    Launch wide =
        new MlaDecode(1, 128, 1, 1, 1).attend(132, big, big, big, big, big, big).getFirst();
    assertThat(wide.grid()).as("two groups of heads").isEqualTo(new Launch.Dim(66, 2, 1));
    assertThatThrownBy(() -> new MlaDecode(1025, 16, 1, 1, 1)).hasMessageContaining("1025");
  }

  @Test
  void muonCompletesTheSquareAndDividesByTheNormInTheFirstStepAlone() {
    Muon.Rule rule = new Muon.Rule(0.95f, true, 2, 3.4445f, -4.775f, 2.0315f, 0.2f, 0.1f);
    Muon tall = new Muon(3, 2048, 1408, rule, Muon.Form.PLAIN);
    tall.step(132, Muon.Gradient.FLOAT32, big, big, big, big, big, Dispatch.NONE, big)
        .forEach(gpu::launch);
    assertThat(gpu.kernels())
        .isEqualTo(
            "muon_momentum_float32 muon_norm newton_schulz_symmetric_tall"
                + " newton_schulz_symmetric_wide newton_schulz_product_tall"
                + " newton_schulz_symmetric_tall newton_schulz_symmetric_wide"
                + " newton_schulz_product_tall muon_update");
    Launch gram = gpu.launches.get(2);
    Launch polynomial = gpu.launches.get(3);
    double shift = real(gram, 9);
    double rest = real(polynomial, 9);
    double c = real(polynomial, 8);
    assertThat(c * shift * shift + rest).as("at G = 0: a").isCloseTo(3.4445, within(1e-5));
    assertThat(2 * c * shift).as("slope at G = 0: b").isCloseTo(-4.775, within(1e-5));
    assertThat(gram.arguments().get(3)).isNotEqualTo(new Launch.Argument.Address(0));
    assertThat(gpu.launches.get(5).arguments().get(3)).isEqualTo(new Launch.Argument.Address(0));
    assertThat(List.of(integer(gram, 5), integer(gram, 6), integer(gram, 7)))
        .as("the smaller side's Gram matrix, summed over the larger")
        .containsExactly(1408, 1408, 2048);
    assertThat(real(gpu.only("muon_update"), 7))
        .isCloseTo((float) (0.2 * Math.sqrt(2048)), withinFloat(1e-5f));
    assertThatThrownBy(() -> new Muon(1, 10, 16, rule)).hasMessageContaining("10 x 16");
    assertThatThrownBy(() -> new Muon.Rule(0.9f, true, 5, 1, 1, 0, 1, 0))
        .hasMessageContaining("quintic");
  }

  @Test
  void muonsGramFormMultipliesLongMatricesEverySecondStep() {
    Muon.Rule rule = new Muon.Rule(0.95f, true, 5, 3.4445f, -4.775f, 2.0315f, 0.2f, 0.1f);
    Muon k2 = new Muon(2, 2048, 7168, rule);
    Muon plain = new Muon(2, 2048, 7168, rule, Muon.Form.PLAIN);
    assertThat(k2.form()).isEqualTo(Muon.Form.GRAM);
    assertThat(k2.scratchBytes())
        .as("its further matrices lie in the iterate to come")
        .isEqualTo(plain.scratchBytes());
    assertThat(new Muon(2, 2048, 2048, rule).form()).isEqualTo(Muon.Form.PLAIN);
    k2.step(132, Muon.Gradient.BF16, big, big, big, big, big, Dispatch.NONE, big)
        .forEach(gpu::launch);
    List<String> kernels =
        gpu.launches.stream().map(l -> l.kernel().replace("newton_schulz_", "")).toList();
    List<String> twoSteps =
        List.of(
            "symmetric_wide_two",
            "symmetric_wide",
            "symmetric_wide",
            "symmetric_wide",
            "symmetric_wide",
            "symmetric_wide",
            "product_wide");
    assertThat(kernels.subList(2, 9)).isEqualTo(twoSteps);
    assertThat(kernels.subList(9, 16)).isEqualTo(twoSteps);
    assertThat(kernels.subList(16, 20))
        .containsExactly("symmetric_wide", "symmetric_wide", "product_wide", "muon_update");
    assertThat(map(gpu.launches.get(8), 2).address())
        .as("the first product writes what the next two steps read")
        .isEqualTo(map(gpu.launches.get(9), 0).address())
        .isNotEqualTo(map(gpu.launches.get(2), 0).address());
  }

  private static Offset<Double> within(double x) {
    return Offset.offset(x);
  }

  private static Offset<Float> withinFloat(float x) {
    return Offset.offset(x);
  }

  @Test
  void theLossTakesMemoryForOneChunkOfLogits() {
    LinearCrossEntropy.Sizes z = new LinearCrossEntropy.Sizes(8192, 2048, 163840, 2048);
    assertThat(z.workingBytes()).isBetween(671_000_000L, 690_000_000L);
    assertThatThrownBy(() -> new LinearCrossEntropy.Sizes(1, 8, 100, 1))
        .hasMessageContaining("vocabulary 100");
  }

  @Test
  void aFloat32WeightGradientIsAddedByTheCopyEngine() {
    GroupedGemm.Sizes s = new GroupedGemm.Sizes(4, 100, 64, 72);
    Launch l = GroupedGemm.weightGradientFloat32(132, s, big, big, big, big, true);
    assertThat(map(l, 2))
        .isEqualTo(
            new TensorMap(1 << 20, 64, 72, 4, 256, 256 * 72, 32, 64, TensorMap.Element.FLOAT32));
    assertThat(integer(l, 8)).as("accumulate").isEqualTo(1);
  }

  @Test
  void fusedPassesCoverEveryNumberAndRefuseWhatTheyCannotTake() {
    FusedNorm norm = new FusedNorm(5000, 2056, 1e-5f);
    assertThat(norm.forward(big, big, big, big, big, big).kernel()).endsWith("_8192");
    assertThat(norm.scratchBytes()).isEqualTo(528L * 2056 * 4);
    assertThatThrownBy(() -> new FusedNorm(1, 8200, 0)).hasMessageContaining("8200");
    assertThatThrownBy(() -> new FusedRope(1, 1, 64, 72)).hasMessageContaining("72 of 64");
    assertThatThrownBy(
            () ->
                new FusedAdamW(0.9f, 0.95f, 1e-8f, 0)
                    .update(new DeviceBuffer(256, 10), big, big, big, big, big))
        .hasMessageContaining("multiple of 4");
    Fp8 row = new Fp8(300, 392, Fp8.Scaling.ROW);
    assertThat(row.scales()).isEqualTo(300 * 4);
    assertThat(row.quantize(big, big, big).grid()).isEqualTo(new Launch.Dim(4, 3, 1));
    Fp8 square = new Fp8(300, 392, Fp8.Scaling.SQUARE);
    assertThat(square.scales()).isEqualTo(3 * 4);
    assertThat(square.quantize(big, big, big).grid()).isEqualTo(new Launch.Dim(4, 3, 1));
  }
}
