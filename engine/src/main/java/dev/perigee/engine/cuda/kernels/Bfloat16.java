package dev.perigee.engine.cuda.kernels;

/** The upper half of a float32: 8 bits of exponent, 7 of fraction. */
public final class Bfloat16 {
  private Bfloat16() {}

  /** Rounds to the nearest, ties to even; keeps NaN. */
  public static short of(float x) {
    int bits = Float.floatToRawIntBits(x);
    if (Float.isNaN(x)) {
      return (short) ((bits >>> 16) | 0x40);
    }
    return (short) ((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16);
  }

  /** Exact. */
  public static float toFloat(short x) {
    return Float.intBitsToFloat(x << 16);
  }
}
