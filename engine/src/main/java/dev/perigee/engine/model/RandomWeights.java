package dev.perigee.engine.model;

import dev.perigee.engine.tensor.Tensor;
import java.nio.charset.StandardCharsets;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/** Normal random numbers that a seed and a name determine on every machine. */
final class RandomWeights {
  private static final long FNV_OFFSET = 0xcbf29ce484222325L;
  private static final long FNV_PRIME = 0x100000001b3L;

  /** What each draw of a {@link SplittableRandom} that was made from a seed adds to that seed. */
  private static final long STEP = 0x9e3779b97f4a7c15L;

  /** Numbers that a thread makes at a time; even, because each two draws make two numbers. */
  static final int PART = 1 << 16;

  private RandomWeights() {}

  /** Fills {@code x} with normal numbers of the given standard deviation. */
  static void fill(Tensor x, String name, long seed, double deviation) {
    long hash = FNV_OFFSET ^ seed;
    for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
      hash = (hash ^ b) * FNV_PRIME;
    }
    long first = hash;
    Tensor host = x.onHost();
    IntStream.range(0, Math.ceilDiv(x.size(), PART))
        .parallel()
        .forEach(part -> fillPart(host, part * PART, first, deviation));
    x.assign(host);
  }

  /** The numbers from {@code from} on, as if those before had been drawn as well. */
  private static void fillPart(Tensor x, int from, long seed, double deviation) {
    SplittableRandom random = new SplittableRandom(seed + from * STEP);
    float[] values = x.floats();
    int at = x.offset();
    int end = Math.min(x.size() - from, PART) + from;
    for (int i = from; i < end; i += 2) {
      // Box and Muller, with StrictMath so that every machine draws the same.
      double radius = deviation * StrictMath.sqrt(-2 * StrictMath.log(1 - random.nextDouble()));
      double angle = 2 * Math.PI * random.nextDouble();
      values[at + i] = (float) (radius * StrictMath.cos(angle));
      if (i + 1 < end) {
        values[at + i + 1] = (float) (radius * StrictMath.sin(angle));
      }
    }
  }
}
