package dev.perigee.engine.model;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.run.ModelConfig;
import java.util.SplittableRandom;

/** Tiny models and batches for tests. */
public final class Models {
  private Models() {}

  /** Three layers (one dense), eight experts, all sizes odd or uneven. */
  public static ModelConfig tiny() {
    return new ModelConfig(
        23, 18, 21, 7, 3, 1, 3, 11, 9, 5, 4, 6, 8, 2, 1, 1, 1, 1.7, true, 10_000, null, 64, 1e-6,
        0.3, false);
  }

  /** Grouped routing, full queries, two shared experts, tied embeddings, weights not normalised. */
  public static ModelConfig groups() {
    return new ModelConfig(
        19, 14, 10, 5, 2, 0, 2, 0, 7, 3, 6, 5, 12, 3, 2, 4, 2, 2.5, false, 500, null, 64, 1e-5, 0.3,
        true);
  }

  /** YaRN over 8 positions, no shared experts. */
  public static ModelConfig yarn() {
    return new ModelConfig(
        17,
        12,
        9,
        6,
        2,
        1,
        2,
        5,
        6,
        4,
        8,
        3,
        4,
        1,
        0,
        1,
        1,
        1,
        true,
        100,
        new ModelConfig.Yarn(4, 8, 32, 1, 1, 0.5),
        64,
        1e-6,
        0.3,
        false);
  }

  /** Like {@link #tiny}, with expert widths that Hopper's copy engine takes. */
  public static ModelConfig even(int layers) {
    return new ModelConfig(
        48, 32, 64, 24, layers, 1, 4, 24, 16, 8, 4, 8, 8, 2, 1, 1, 1, 1.4, true, 10_000, null, 256,
        1e-6, 0.02, false);
  }

  /** Widths of heads, latents and a vocabulary that have kernels of their own on a GPU. */
  public static ModelConfig wide() {
    return wide(64, 4096);
  }

  /** The same with another hidden width and vocabulary. */
  public static ModelConfig wide(int hidden, int vocabulary) {
    return new ModelConfig(
        vocabulary,
        hidden,
        64,
        24,
        3,
        1,
        2,
        0,
        512,
        128,
        64,
        128,
        8,
        2,
        1,
        1,
        1,
        1.4,
        true,
        10_000,
        null,
        256,
        1e-6,
        0.02,
        false);
  }

  /** A random model on one rank. */
  public static Model random(ModelConfig config) {
    Model model = Model.create(config, new CpuBackend(), Collectives.solo());
    model.initialize(7);
    return model;
  }

  /** Random token ids. */
  public static int[] ids(int n, int vocabulary, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    return random.ints(n, 0, vocabulary).toArray();
  }
}
