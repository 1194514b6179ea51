package dev.perigee.engine.optim;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

final class AdamWTest {
  @Test
  void agreesWithItsTwinInDoublePrecisionAndDecaysNormsToo() {
    int size = 37;
    double learningRate = 0.01;
    double gradientScale = 0.125;
    SplittableRandom random = new SplittableRandom(1);
    Tensor gain = Tensor.zeros(size);
    double[] w = new double[size];
    for (int i = 0; i < size; i++) {
      gain.floats()[i] = (float) random.nextGaussian();
      w[i] = gain.floats()[i];
    }
    Parameter norm =
        new Parameter(
            "model.norm.weight",
            gain,
            Tensor.zeros(size),
            Parameter.Rule.ELEMENTWISE,
            Parameter.Sharing.DENSE);
    RunConfig.Optimizer config =
        new RunConfig.Optimizer(
            RunConfig.Optimizer.Kind.MuonClip,
            0.1,
            0,
            RunConfig.Optimizer.Muon.DEFAULT,
            RunConfig.Optimizer.AdamW.DEFAULT,
            RunConfig.Optimizer.QkClip.DEFAULT,
            0);
    AdamW adamW = new AdamW(norm, config, new CpuBackend());
    Rates rates = new Rates.OnHost();
    double[] m = new double[size];
    double[] v = new double[size];
    for (int step = 1; step <= 20; step++) {
      Tensor gradient = Tensor.zeros(size);
      for (int i = 0; i < size; i++) {
        // One element never has a gradient: only decay moves it.
        gradient.floats()[i] = i == 0 ? 0 : (float) random.nextGaussian();
        double g = gradient.floats()[i] * gradientScale;
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.95 * v[i] + 0.05 * g * g;
        double mean = m[i] / (1 - Math.pow(0.9, step));
        double root = Math.sqrt(v[i] / (1 - Math.pow(0.95, step))) + 1e-8;
        w[i] = w[i] * (1 - learningRate * 0.1) - learningRate * mean / root;
      }
      Rates.Values values = Optimizer.values(config, step, learningRate, gradientScale);
      rates.set(values);
      adamW.update(gradient, values, rates);
    }
    for (int i = 0; i < size; i++) {
      assertThat((double) gain.floats()[i]).as("element " + i).isCloseTo(w[i], within(2e-6));
    }
    assertThat(adamW.state().sequencedKeySet())
        .containsExactly("model.norm.weight.exp_avg", "model.norm.weight.exp_avg_sq");
  }
}
