package dev.perigee.engine.model;

import dev.perigee.engine.tensor.Tensor;
import java.nio.charset.StandardCharsets;
import java.util.SplittableRandom;

/** Normal random numbers that a seed and a name determine on every machine. */
final class RandomWeights {
  private static final long FNV_OFFSET = 0xcbf29ce484222325L;
  private static final long FNV_PRIME = 0x100000001b3L;

  private RandomWeights() {}

  /** Fills {@code x} with normal numbers of the given standard deviation. */
  static void fill(Tensor x, String name, long seed, double deviation) {
    long hash = FNV_OFFSET ^ seed;
    for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
      hash = (hash ^ b) * FNV_PRIME;
    }
    SplittableRandom random = new SplittableRandom(hash);
    Tensor host = x.onHost();
    float[] values = host.floats();
    int at = host.offset();
    for (int i = 0; i < x.size(); i += 2) {
      // Box and Muller, with StrictMath so that every machine draws the same.
      double radius = deviation * StrictMath.sqrt(-2 * StrictMath.log(1 - random.nextDouble()));
      double angle = 2 * Math.PI * random.nextDouble();
      values[at + i] = (float) (radius * StrictMath.cos(angle));
      if (i + 1 < x.size()) {
        values[at + i + 1] = (float) (radius * StrictMath.sin(angle));
      }
    }
    x.assign(host);
  }
}
