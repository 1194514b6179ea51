package dev.perigee.engine.optim;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Model.QkProjections;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class QkClipTest {
  private static final int BATCH = 3;
  private static final int LENGTH = 20;

  private static Model model(int qLoraRank) {
    // One layer, so that nothing before an attention changes with it; YaRN's factor is on.
    ModelConfig config =
        new ModelConfig(
            40,
            32,
            48,
            0,
            1,
            1,
            4,
            qLoraRank,
            16,
            8,
            4,
            6,
            0,
            0,
            0,
            1,
            1,
            1,
            true,
            10_000,
            new ModelConfig.Yarn(8, 16, 32, 1, 1, 1),
            128,
            1e-6,
            0.5,
            false);
    Model model = Model.create(config, new CpuBackend(), Collectives.solo());
    model.initialize(5);
    return model;
  }

  private static float[] maxLogits(Model model) {
    int[] ids = new SplittableRandom(9).ints(BATCH * LENGTH, 0, 40).toArray();
    model.resetStatistics();
    model.forwardBackward(ids, ids, BATCH, LENGTH, 0);
    return model.statistics().maxLogit()[0];
  }

  @ParameterizedTest
  @CsvSource({"24,0.5", "0,0.5", "24,0.2", "24,1"})
  void theLargestLogitOfAClippedHeadIsExactlyGammaTimesWhatItWas(int qLoraRank, double balance) {
    Model model = model(qLoraRank);
    float[] before = maxLogits(model);
    float[] sorted = before.clone();
    Arrays.sort(sorted);
    // Between the second and the third of four: two heads are clipped, two are not.
    double threshold = (sorted[1] + sorted[2]) / 2;
    RunConfig.Optimizer.QkClip constants = new RunConfig.Optimizer.QkClip(threshold, balance);
    QkProjections layer = model.qkProjections().getFirst();
    float[] keyValueBefore = layer.keyValue().value().floats().clone();

    float[][] factors = QkClip.factors(constants, new float[][] {before});
    int clipped = QkClip.clipped(factors);
    QkClip clip = new QkClip(constants, model.backend(), model.qkProjections());
    model.parameters().forEach(p -> clip.scale(p, factors));

    assertThat(clipped).isEqualTo(2);
    float[] after = maxLogits(model);
    for (int head = 0; head < before.length; head++) {
      if (before[head] > threshold) {
        assertThat(factors[0][head]).isEqualTo((float) (threshold / before[head]));
        assertThat(after[head] / (factors[0][head] * before[head])).isCloseTo(1, within(1e-5f));
        assertThat(after[head]).isCloseTo((float) threshold, within((float) threshold * 1e-5f));
      } else {
        assertThat(factors[0][head]).isEqualTo(1);
        assertThat(after[head]).isEqualTo(before[head]);
      }
    }
    int at = layer.keyValue().value().offset();
    int width = layer.keyValue().value().dim(1);
    for (int row = 0; row < layer.keyValue().value().dim(0); row++) {
      if (row % (layer.nope() + layer.value()) >= layer.nope()) {
        int from = at + row * width;
        assertThat(
                Arrays.equals(
                    layer.keyValue().value().floats(),
                    from,
                    from + width,
                    keyValueBefore,
                    from,
                    from + width))
            .as("row " + row + " of the values")
            .isTrue();
      }
    }
  }

  @Test
  void theSharedRotaryKeyStays() {
    Model model = model(24);
    Tensor shared = model.parameter("model.layers.0.self_attn.kv_a_proj_with_mqa.weight").value();
    float[] before = numbers(shared);
    QkClip clip =
        new QkClip(new RunConfig.Optimizer.QkClip(1, 0.5), model.backend(), model.qkProjections());
    model.parameters().forEach(p -> clip.scale(p, new float[][] {{0.5f, 0.5f, 0.5f, 0.5f}}));
    assertThat(numbers(shared)).isEqualTo(before);
  }

  private static float[] numbers(Tensor x) {
    return Arrays.copyOfRange(x.floats(), x.offset(), x.offset() + x.size());
  }

  @Test
  void aHeadAtTheThresholdOrBelowIsNotClipped() {
    float[][] factors =
        QkClip.factors(
            RunConfig.Optimizer.QkClip.DEFAULT,
            new float[][] {{100, 99, -3, Float.NEGATIVE_INFINITY, 200}});
    assertThat(factors[0]).containsExactly(1, 1, 1, 1, 0.5f);
  }
}
