package dev.perigee.engine.model;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.backend.Fp8;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Storage;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig.Memory;
import dev.perigee.run.RunConfig.Memory.Recompute;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What each way to need less memory takes out of the arena, to the byte, and out of its peak. */
final class KeptActivationsTest {
  /** Eight layers, one of them dense, so that what is kept outweighs what one layer works with. */
  private static final ModelConfig MODEL =
      new ModelConfig(
          64, 160, 256, 96, 8, 1, 4, 48, 32, 16, 8, 16, 8, 2, 1, 1, 1, 1.4, true, 10_000, null, 256,
          1e-6, 0.1, false);

  private static final int BATCH = 2;
  private static final int LENGTH = 32;
  private static final int TOKENS = BATCH * LENGTH;
  private static final int PAIRS = 2 * TOKENS;
  private static final int MIXTURES = 7;

  /** What is promised of gradients: the largest error that rounding to E4M3 makes in a number. */
  private static final double EIGHT_BITS = 1.0 / 16;

  /** What a forward pass leaves in the arena, the most there ever was, and the gradients. */
  private record Pass(long keptBytes, long peakBytes, Map<String, float[]> gradients) {}

  private static Pass pass(Memory memory) {
    Model model =
        Model.create(MODEL, new CpuBackend(), Collectives.solo(), StagePlace.whole(MODEL), memory);
    model.initialize(3);
    int[] ids = Models.ids(TOKENS, 64, 1);
    int[] targets = Models.ids(TOKENS, 64, 2);
    Chunk whole = model.chunks().getFirst();
    long kept;
    try (Chunk.Pass pass = whole.pass(ids, targets, BATCH, LENGTH, 1, false)) {
      whole.forward(pass, 0);
      kept = model.backend().arena().currentBytes();
      whole.backward(pass, 0, done -> {});
    }
    assertThat(model.backend().arena().currentBytes()).as("everything is given back").isZero();
    Map<String, float[]> gradients = new LinkedHashMap<>();
    for (Parameter p : model.parameters()) {
      Tensor g = p.gradient();
      gradients.put(p.name(), Arrays.copyOfRange(g.floats(), g.offset(), g.offset() + g.size()));
    }
    return new Pass(kept, model.backend().arena().peakBytes(), gradients);
  }

  private static final Pass ALL_KEPT = pass(Memory.DEFAULT);

  /** Bytes of a tensor in an arena. */
  private static long bytes(int rows, int width) {
    Arena arena = new Arena(n -> new Storage.HostFloats(new float[n]));
    arena.take(rows, width);
    return arena.currentBytes();
  }

  private static long packed(int rows, int width) {
    return bytes(rows, width) - bytes(rows, Fp8.packedWidth(width));
  }

  private static long saved(Recompute what) {
    return switch (what) {
      case norms -> 8 * (2 * bytes(TOKENS, 160) + bytes(TOKENS, 48) + bytes(TOKENS, 32));
      case swiGlu -> bytes(TOKENS, 256) + MIXTURES * (bytes(PAIRS, 96) + bytes(TOKENS, 96));
      case latentProjections -> 8 * (bytes(TOKENS, 4 * 24) + bytes(TOKENS, 4 * 32));
      case expertDown -> MIXTURES * bytes(PAIRS, 160);
    };
  }

  @ParameterizedTest
  @EnumSource(Recompute.class)
  void whatIsComputedAgainIsNotKept(Recompute what) {
    Pass pass = pass(new Memory(Set.of(what), Set.of(), false, 32));
    assertThat(ALL_KEPT.keptBytes - pass.keptBytes).isEqualTo(saved(what));
    // Backward works on one layer at a time; all others' share stays out of the peak.
    assertThat(ALL_KEPT.peakBytes - pass.peakBytes).isGreaterThan(saved(what) * 3 / 4);
    ALL_KEPT.gradients.forEach(
        (name, g) -> assertThat(Arrays.equals(pass.gradients.get(name), g)).as(name).isTrue());
  }

  @ParameterizedTest
  @EnumSource(Memory.Fp8.class)
  void whatIsKeptInEightBitsTakesAQuarterAndGivesNearlyTheSameGradients(Memory.Fp8 what) {
    Pass pass = pass(new Memory(Set.of(), Set.of(what), false, 32));
    long saved =
        switch (what) {
          case expertInput -> MIXTURES * packed(PAIRS, 160);
          case swiGluInput ->
              packed(TOKENS, 2 * 256) + MIXTURES * (packed(PAIRS, 192) + packed(TOKENS, 192));
        };
    assertThat(ALL_KEPT.keptBytes - pass.keptBytes).isEqualTo(saved);
    assertThat(ALL_KEPT.peakBytes - pass.peakBytes).isGreaterThan(saved * 3 / 4);
    assertThat(relativeError(pass)).isBetween(1e-4, EIGHT_BITS);
  }

  @Test
  void allAtOnceTakesLessThanHalfOfThePeak() {
    Pass pass =
        pass(
            new Memory(EnumSet.allOf(Recompute.class), EnumSet.allOf(Memory.Fp8.class), false, 32));
    assertThat(pass.peakBytes).isLessThan(ALL_KEPT.peakBytes / 2);
    assertThat(relativeError(pass)).isLessThan(EIGHT_BITS);
  }

  /** Frobenius norm of the difference of all gradients, relative to theirs. */
  private static double relativeError(Pass pass) {
    double difference = 0;
    double size = 0;
    for (Map.Entry<String, float[]> e : ALL_KEPT.gradients.entrySet()) {
      float[] other = pass.gradients.get(e.getKey());
      for (int i = 0; i < other.length; i++) {
        difference += Math.pow(other[i] - e.getValue()[i], 2);
        size += Math.pow(e.getValue()[i], 2);
      }
    }
    return Math.sqrt(difference / size);
  }
}
