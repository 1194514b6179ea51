package dev.perigee.engine.backend;

/**
 * Storage of float32 rows as eight-bit E4M3 numbers with one float32 scale for each block of {@link
 * #BLOCK} (DeepSeek-V3 report, section 3.3.2; Kimi K2 report, section 2.4). For keeping only:
 * nothing is computed in it.
 *
 * <p>A block's scale is max(|x|, 1e-4) / 448, so its largest number becomes the largest of E4M3. A
 * number comes back within 1/16 of itself, or, when it is less than 1/28672 of its block's largest,
 * within 1/458752 of that.
 *
 * <p>A packed row is float32 words: first the scales, then four numbers in the bits of each word,
 * the first in the lowest. No such word is a NaN, whose bits Java need not keep: E4M3's own NaN is
 * never written. A block with a number that is not finite comes back as NaN.
 */
public final class Fp8 {
  /** Numbers that share a scale. */
  public static final int BLOCK = 128;

  private static final float LARGEST = 448;
  private static final int LARGEST_CODE = 0x7E;
  private static final float SMALLEST_SCALED = 1e-4f;

  /** 2⁻⁶: below it E4M3 numbers are multiples of 2⁻⁹. */
  private static final float SMALLEST_NORMAL = 0x1p-6f;

  /**
   * Numbers from here to twice of it are 2⁻⁹ apart in float32, so that adding it rounds to those.
   */
  private static final float ROUNDS_TO_SUBNORMAL = 0x1p14f;

  private static final float[] VALUES = new float[256];

  static {
    for (int code = 0; code < 256; code++) {
      VALUES[code] = value(code);
    }
  }

  private Fp8() {}

  private static float value(int code) {
    int exponent = (code >> 3) & 15;
    int mantissa = code & 7;
    float size =
        exponent == 0
            ? Math.scalb((float) mantissa, -9)
            : Math.scalb(1 + mantissa / 8f, exponent - 7);
    return (code & 0x80) == 0 ? size : -size;
  }

  /** Words of a packed row of {@code width} numbers. */
  public static int packedWidth(int width) {
    return Math.ceilDiv(width, BLOCK) + Math.ceilDiv(width, 4);
  }

  /** Packs one row of {@code width} numbers at {@code at} into words at {@code to}. */
  static void pack(float[] x, int at, int width, float[] packed, int to) {
    int words = to + Math.ceilDiv(width, BLOCK);
    for (int block = 0; block * BLOCK < width; block++) {
      int first = block * BLOCK;
      int n = Math.min(BLOCK, width - first);
      float largest = SMALLEST_SCALED;
      for (int i = 0; i < n; i++) {
        largest = Math.max(largest, Math.abs(x[at + first + i])); // NaN stays NaN
      }
      float scale = Float.isFinite(largest) ? largest / LARGEST : Float.NaN;
      packed[to + block] = scale;
      for (int i = 0; i < n; i += 4) {
        int word = 0;
        for (int k = 0; k < 4 && i + k < n && !Float.isNaN(scale); k++) {
          word |= encode(x[at + first + i + k] / scale) << (8 * k);
        }
        packed[words + (first + i) / 4] = Float.intBitsToFloat(word);
      }
    }
  }

  /** The way back of {@link #pack}. */
  static void unpack(float[] packed, int from, float[] x, int at, int width) {
    int words = from + Math.ceilDiv(width, BLOCK);
    for (int i = 0; i < width; i++) {
      int word = Float.floatToRawIntBits(packed[words + i / 4]);
      x[at + i] = VALUES[(word >> (8 * (i % 4))) & 0xFF] * packed[from + i / BLOCK];
    }
  }

  /** The code of the nearest E4M3 number, the one with an even mantissa of two; 448 at most. */
  static int encode(float x) {
    float size = Math.abs(x);
    int code;
    if (size < SMALLEST_NORMAL) {
      code =
          Float.floatToRawIntBits(size + ROUNDS_TO_SUBNORMAL)
              - Float.floatToRawIntBits(ROUNDS_TO_SUBNORMAL);
    } else {
      int bits = Float.floatToRawIntBits(size);
      int rounded = bits + 0x7FFFF + ((bits >>> 20) & 1);
      code = Math.min((rounded >>> 20) - ((127 - 7) << 3), LARGEST_CODE);
    }
    return code | (x < 0 ? 0x80 : 0);
  }

  /** The E4M3 number of a code; the two codes of NaN, which are never written, give ±480. */
  static float decode(int code) {
    return VALUES[code];
  }
}
