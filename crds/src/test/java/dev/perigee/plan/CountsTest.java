package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CountsTest {
  private static ModelConfig preset(String name) {
    return ModelPresets.find(name).orElseThrow();
  }

  /** Totals as counted from the published configurations; Moonlight's report says 16 and 3. */
  @ParameterizedTest
  @CsvSource({
    "kimi-k2, 1026.4, 32.86",
    "deepseek-v3, 671.0, 37.55",
    "moonlight-16b-a3b, 15.96, 2.91"
  })
  void parametersAreThoseOfThePublishedModels(String name, double total, double active) {
    assertThat(ParameterCount.total(preset(name)).sum() / 1e9).isCloseTo(total, within(0.05));
    assertThat(ParameterCount.active(preset(name)).sum() / 1e9).isCloseTo(active, within(0.05));
  }

  @Test
  void theKindsAddUpToWhatTheModelItselfCounts() {
    ModelPresets.all()
        .values()
        .forEach(
            model -> {
              assertThat(ParameterCount.total(model).sum()).isEqualTo(model.totalParameters());
              assertThat(ParameterCount.active(model).sum()).isEqualTo(model.activeParameters());
            });
  }

  @Test
  void aTokenNeedsTwoOperationsForEachActiveParameterOfAMatrix() {
    ModelConfig k2 = preset("kimi-k2");
    ParameterCount active = ParameterCount.active(k2);
    long products =
        active.sum()
            - active.of(WeightShape.Kind.EMBEDDING)
            - active.of(WeightShape.Kind.NORM)
            - active.of(WeightShape.Kind.ROUTER_BIAS);
    FlopCount flops = FlopCount.model(k2, 4096);
    assertThat(flops.forward() - flops.core()).isEqualTo(2.0 * products);
    assertThat(flops.training()).isEqualTo(3 * flops.forward());
  }

  @Test
  void ownersShareMatricesByWhatTheyCostAndNoneIsSplit() {
    List<WeightShape> shapes =
        List.of(
            new WeightShape(WeightShape.Kind.ROUTED_EXPERT, 64, 32, 6),
            new WeightShape(WeightShape.Kind.NORM, 32, 1, 1));
    List<Ownership.Share> shares = Ownership.shares(shapes, 4, 5);
    assertThat(shares)
        .extracting(Ownership.Share::muonNumbers)
        .containsExactly(4096L, 4096L, 2048L, 2048L);
    assertThat(shares.get(2).adamNumbers()).isEqualTo(32); // whoever had least
    assertThat(shares.getFirst().bytes(Hardware.Precision.FLOAT32)).isEqualTo(4 * 4096);
    assertThat(shares.getFirst().bytes(Hardware.Precision.BF16)).isEqualTo(8 * 4096);
  }

  @Test
  void gpusAreKnownByTheLabelsOfTheirNodes() {
    assertThat(Gpu.find("NVIDIA-H100-80GB-HBM3").orElseThrow().name()).isEqualTo("H100");
    assertThat(Gpu.find("NVIDIA-A100-SXM4-80GB").orElseThrow().name()).isEqualTo("A100");
    assertThat(Gpu.find("h800")).isPresent();
    assertThat(Gpu.find("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb")).isEmpty();
    assertThat(Gpu.find("NVIDIA-H100-80GB-HBM3-SHARED")).isEmpty();
    assertThat(Gpu.find("GeForce")).isEmpty();
  }

  @Test
  void figuresHaveThreeDigitsAndAUnit() {
    assertThat(Figures.bytes(28.92e9)).isEqualTo("28.9 GB");
    assertThat(Figures.bytes(999.6e9)).isEqualTo("1.00 TB");
    assertThat(Figures.bytes(512)).isEqualTo("512 B");
    assertThat(Figures.seconds(0.00471)).isEqualTo("4.71 ms");
    assertThat(Figures.seconds(0)).isEqualTo("0 s");
    assertThat(Figures.percent(0.0951)).isEqualTo("9.5 %");
  }
}
