package dev.perigee.engine.cuda.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class Bfloat16Test {
  @Test
  void roundsToTheNearestAndTiesToEven() {
    assertThat(Bfloat16.toFloat(Bfloat16.of(1 + 1 / 256f))).as("a tie, down to even").isEqualTo(1f);
    assertThat(Bfloat16.toFloat(Bfloat16.of(1 + 3 / 256f)))
        .as("a tie, up to even")
        .isEqualTo(1 + 4 / 256f);
    assertThat(Bfloat16.toFloat(Bfloat16.of(-1.005f))).isEqualTo(-1.0078125f);
    assertThat(Bfloat16.toFloat(Bfloat16.of(Float.MAX_VALUE))).isEqualTo(Float.POSITIVE_INFINITY);
    assertThat(Bfloat16.toFloat(Bfloat16.of(Float.NaN))).isNaN();
    assertThat(Bfloat16.toFloat(Bfloat16.of(-0.0f))).isEqualTo(-0.0f);
  }
}
