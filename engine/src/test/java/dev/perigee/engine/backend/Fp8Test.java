package dev.perigee.engine.backend;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class Fp8Test {
  /** The nearest of all E4M3 numbers, the even one of two: what {@link Fp8#encode} promises. */
  private static int nearest(float x) {
    int best = 0;
    for (int code = 1; code <= 0x7E; code++) {
      double further = Math.abs(Fp8.decode(code) - Math.abs((double) x));
      double nearer = Math.abs(Fp8.decode(best) - Math.abs((double) x));
      if (further < nearer || (further == nearer && code % 2 == 0)) {
        best = code;
      }
    }
    return best | (x < 0 ? 0x80 : 0);
  }

  @Test
  void theNumbersAreThoseOfE4M3() {
    assertThat(Fp8.decode(0x38)).isEqualTo(1);
    assertThat(Fp8.decode(0x7E)).isEqualTo(448);
    assertThat(Fp8.decode(0xFE)).isEqualTo(-448);
    assertThat(Fp8.decode(0x01)).isEqualTo((float) Math.pow(2, -9));
    assertThat(Fp8.decode(0x08)).isEqualTo((float) Math.pow(2, -6));
    for (int code = 0; code < 256; code++) {
      if ((code & 0x7F) != 0x7F && code != 0x80) {
        assertThat(Fp8.encode(Fp8.decode(code))).isEqualTo(code);
      }
    }
  }

  @Test
  void everyNumberBecomesTheNearestAndTiesTheEvenOne() {
    for (int code = 0; code < 0x7E; code++) {
      float low = Fp8.decode(code);
      float high = Fp8.decode(code + 1);
      float middle = (low + high) / 2;
      for (float x : new float[] {low, middle, Math.nextUp(middle), Math.nextDown(middle), high}) {
        assertThat(Fp8.encode(x)).as("%s", x).isEqualTo(nearest(x));
        if (x > 0) {
          assertThat(Fp8.encode(-x)).as("%s", -x).isEqualTo(nearest(-x));
        }
      }
    }
    SplittableRandom random = new SplittableRandom(1);
    for (int i = 0; i < 20_000; i++) {
      float x = (float) Math.scalb(random.nextDouble(-1, 1), random.nextInt(-14, 9));
      assertThat(Fp8.encode(x)).as("%s", x).isEqualTo(nearest(x));
    }
    assertThat(Fp8.encode(1e9f)).isEqualTo(0x7E);
    assertThat(Fp8.encode(Float.MIN_VALUE)).isZero();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 4, 127, 128, 129, 384, 1000})
  void aRowComesBackWithinWhatIsPromised(int width) {
    SplittableRandom random = new SplittableRandom(width);
    float[] x = new float[width + 3];
    for (int i = 3; i < x.length; i++) {
      x[i] = (float) (random.nextDouble(-1, 1) * Math.pow(10, random.nextInt(-7, 5)));
    }
    int words = Fp8.packedWidth(width);
    assertThat(words).isLessThanOrEqualTo(width / 4 + width / 128 + 2);
    float[] packed = new float[words + 2];
    Fp8.pack(x, 3, width, packed, 1);
    assertThat(packed[0]).isZero();
    assertThat(packed[words + 1]).isZero();
    float[] back = new float[width + 2];
    Arrays.fill(back, Float.NaN);
    Fp8.unpack(packed, 1, back, 1, width);
    assertThat(back[0]).isNaN();
    assertThat(back[width + 1]).isNaN();
    for (int i = 0; i < width; i++) {
      int block = i / Fp8.BLOCK * Fp8.BLOCK;
      double largest = 1e-4;
      for (int k = block; k < Math.min(width, block + Fp8.BLOCK); k++) {
        largest = Math.max(largest, Math.abs(x[3 + k]));
      }
      double size = Math.abs(x[3 + i]);
      double promised = size < largest / 28672 ? largest / 458752 : size / 16;
      assertThat(Math.abs(back[1 + i] - x[3 + i]))
          .as("%s beside %s", x[3 + i], largest)
          .isLessThanOrEqualTo((float) (promised * 1.000001));
    }
  }

  @Test
  void anyPackedWordKeepsItsBits() {
    float[] x = new float[128];
    float[] packed = new float[Fp8.packedWidth(128)];
    float[] back = new float[128];
    // Both signs of the largest number in the highest byte, where a float32 has its exponent.
    for (float sign : new float[] {-1, 1}) {
      Arrays.fill(x, sign * 5);
      Fp8.pack(x, 0, 128, packed, 0);
      for (float word : packed) {
        assertThat(word).isNotNaN();
      }
      Fp8.unpack(packed, 0, back, 0, 128);
      assertThat(back).containsOnly(sign * 5);
    }
  }

  @Test
  void whatIsNotFiniteComesBackAsNaN() {
    for (float broken : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
      float[] x = new float[256];
      Arrays.fill(x, 1);
      x[200] = broken;
      float[] packed = new float[Fp8.packedWidth(256)];
      Fp8.pack(x, 0, 256, packed, 0);
      float[] back = new float[256];
      Fp8.unpack(packed, 0, back, 0, 256);
      assertThat(back[200]).isNaN();
      assertThat(back[0]).isEqualTo(1);
    }
  }
}
