package dev.perigee.engine.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.tensor.Tensor;
import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class RandomWeightsTest {
  private static final long HASH_OF_W = (0xcbf29ce484222325L ^ 7 ^ 'w') * 0x100000001b3L;

  /** Parts that threads fill apart are one sequence, whatever the size. */
  @ParameterizedTest
  @ValueSource(
      ints = {1, 2, 7, RandomWeights.PART - 1, RandomWeights.PART, 3 * RandomWeights.PART + 5})
  void theNumbersAreThoseOfOneSequence(int size) {
    Tensor x = Tensor.zeros(size);
    RandomWeights.fill(x, "w", 7, 0.5);

    SplittableRandom random = new SplittableRandom(HASH_OF_W);
    float[] expected = new float[size];
    for (int i = 0; i < size; i += 2) {
      double radius = 0.5 * StrictMath.sqrt(-2 * StrictMath.log(1 - random.nextDouble()));
      double angle = 2 * Math.PI * random.nextDouble();
      expected[i] = (float) (radius * StrictMath.cos(angle));
      if (i + 1 < size) {
        expected[i + 1] = (float) (radius * StrictMath.sin(angle));
      }
    }
    assertThat(x.floats()).isEqualTo(expected);
  }
}
