package dev.perigee.engine.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/**
 * Gradients against central differences of the loss. A parameter's gradient is compared along the
 * direction of its own signs, where float32 leaves about three digits of a difference.
 */
class GradientTest {
  private static final int BATCH = 3;
  private static final int LENGTH = 7;

  @Test
  void ofAModelWithOddSizes() {
    check(Models.random(Models.tiny()));
  }

  @Test
  void ofGroupedRoutingFullQueriesAndTiedEmbeddings() {
    check(Models.random(Models.groups()));
  }

  @Test
  void ofYarnWithoutSharedExperts() {
    check(Models.random(Models.yarn()));
  }

  @Test
  void whenAnExpertGetsNoToken() {
    Model model = Models.random(Models.tiny());
    bias(model, 3, -10);
    check(model);
    assertThat(model.statistics().tokensPerExpert()[0][3]).isZero();
    for (Parameter p : model.parameters()) {
      if (p.name().contains(".experts.3.")) {
        assertThat(sumOfSquares(p.gradient())).as(p.name()).isZero();
      }
    }
  }

  @Test
  void whenEveryTokenGoesToTheSameExperts() {
    Model model = Models.random(Models.tiny());
    bias(model, 5, 10);
    bias(model, 2, 10);
    check(model);
    assertThat(model.statistics().tokensPerExpert()[0])
        .containsExactly(0, 0, BATCH * LENGTH, 0, 0, BATCH * LENGTH, 0, 0);
  }

  @Test
  void ofOneTokenAndOfSequencesLongerThanAnAttentionBlock() {
    Model model = Models.random(Models.tiny());
    bias(model, 5, 10); // of many tokens one would change its experts within the difference
    bias(model, 2, 10);
    check(model, 1, 1);
    check(model, 1, 67);
  }

  private static void bias(Model model, int expert, float value) {
    for (Tensor b : model.buffers().values()) {
      b.floats()[b.offset() + expert] = value;
    }
  }

  private static void check(Model model) {
    check(model, BATCH, LENGTH);
  }

  private static void check(Model model, int batch, int length) {
    ModelConfig config = model.config();
    int[] ids = Models.ids(batch * length, config.vocabSize(), 1);
    int[] targets = Models.ids(batch * length, config.vocabSize(), 2);
    if (targets.length > 1) {
      targets[targets.length / 2] = -1;
    }
    double scale = 0.5;
    model.zeroGradients();
    model.resetStatistics();
    double loss = model.forwardBackward(ids, targets, batch, length, scale);
    assertThat(model.forwardLoss(ids, targets, batch, length)).isEqualTo(loss);
    SplittableRandom random = new SplittableRandom(3);
    for (Parameter p : model.parameters()) {
      // Along the gradient's own signs the difference is large compared with rounding.
      float[] direction = new float[p.value().size()];
      for (int i = 0; i < direction.length; i++) {
        float g = p.gradient().floats()[p.gradient().offset() + i];
        direction[i] = g != 0 ? Math.signum(g) : random.nextBoolean() ? 1 : -1;
      }
      double expected = 0;
      for (int i = 0; i < direction.length; i++) {
        expected += direction[i] * p.gradient().floats()[p.gradient().offset() + i];
      }
      double step = 2e-3 / Math.sqrt(direction.length);
      double difference =
          scale
              * (lossAt(model, p, direction, step, ids, targets, batch, length)
                  - lossAt(model, p, direction, -step, ids, targets, batch, length))
              / (2 * step);
      // A float32 loss of a few nats a token is off by about 1e-6 of itself.
      double noise = 2e-6 * scale * loss / step;
      assertThat(difference)
          .as("%s: difference quotient against gradient %g", p.name(), expected)
          .isCloseTo(
              expected, org.assertj.core.api.Assertions.offset(2e-2 * Math.abs(expected) + noise));
    }
  }

  private static double lossAt(
      Model model,
      Parameter p,
      float[] direction,
      double step,
      int[] ids,
      int[] targets,
      int batch,
      int length) {
    float[] x = p.value().floats();
    int at = p.value().offset();
    float[] before = Arrays.copyOfRange(x, at, at + direction.length);
    for (int i = 0; i < direction.length; i++) {
      x[at + i] += (float) (step * direction[i]);
    }
    double loss = model.forwardLoss(ids, targets, batch, length);
    System.arraycopy(before, 0, x, at, before.length);
    return loss;
  }

  private static double sumOfSquares(Tensor x) {
    double sum = 0;
    for (int i = 0; i < x.size(); i++) {
      double v = x.floats()[x.offset() + i];
      sum += v * v;
    }
    return sum;
  }
}
