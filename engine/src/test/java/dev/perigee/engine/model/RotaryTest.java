package dev.perigee.engine.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import org.junit.jupiter.api.Test;

class RotaryTest {
  private final ModelConfig kimi = ModelPresets.find("kimi-k2").orElseThrow();

  @Test
  void theSoftmaxScaleOfKimiK2HasYarnsFactorSquared() {
    Rotary rotary = new Rotary(kimi, new CpuBackend());
    assertThat((double) rotary.softmaxScale()).isCloseTo(0.130861, within(1e-6));
  }

  @Test
  void yarnOfKimiK2IsAStepAfterTheTwentiethFrequency() {
    double[] frequencies = Rotary.frequencies(kimi);
    assertThat(frequencies).hasSize(32);
    for (int i = 0; i < 32; i++) {
      double kept = Math.pow(50_000, -i / 32.0);
      assertThat(frequencies[i]).isCloseTo(i <= 19 ? kept : kept / 32, within(1e-12));
    }
  }

  @Test
  void rotatingBackUndoesRotating() {
    Rotary rotary = new Rotary(Models.tiny(), new CpuBackend());
    rotary.reach(20);
    Tensor x = Tensor.zeros(3, 18);
    for (int i = 0; i < x.size(); i++) {
      x.floats()[i] = i;
    }
    int[] positions = {0, 7, 19};
    rotary.apply(x, 9, Indices.of(positions));
    assertThat(x.floats()[0]).isEqualTo(0); // position 0 turns nothing
    assertThat(x.floats()[18 + 4]).isEqualTo(22); // and the part without position stays
    assertThat(x.floats()[18 + 5]).isNotEqualTo(23);
    rotary.applyBackward(x, 9, Indices.of(positions));
    for (int i = 0; i < x.size(); i++) {
      assertThat(x.floats()[i]).isCloseTo(i, within(1e-4f));
    }
  }

  @Test
  void logitsDependOnTheDistanceOfPositionsOnly() {
    Rotary rotary = new Rotary(kimi, new CpuBackend());
    rotary.reach(3000);
    assertThat(rotatedDot(rotary, 5, 2)).isCloseTo(rotatedDot(rotary, 2903, 2900), within(2e-3f));
  }

  private static float rotatedDot(Rotary rotary, int i, int j) {
    Tensor q = Tensor.zeros(1, 64);
    Tensor k = Tensor.zeros(1, 64);
    for (int n = 0; n < 64; n++) {
      q.floats()[n] = (float) Math.sin(n);
      k.floats()[n] = (float) Math.cos(3 * n);
    }
    rotary.apply(q, 64, Indices.of(i));
    rotary.apply(k, 64, Indices.of(j));
    float dot = 0;
    for (int n = 0; n < 64; n++) {
      dot += q.floats()[n] * k.floats()[n];
    }
    return dot;
  }
}
