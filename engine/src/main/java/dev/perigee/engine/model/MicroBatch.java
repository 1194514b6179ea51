package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Routine;
import dev.perigee.engine.tensor.Indices;

/**
 * Micro-batches of one size through a chunk that is a whole model, forward and backward: a {@link
 * Routine}, for nothing in it depends on the host but the tokens.
 */
final class MicroBatch {
  private final int batch;
  private final int length;
  private final double gradScale;
  private final Indices.Slot ids;
  private final Indices.Slot targets;
  private final Routine routine;

  /**
   * For {@code batch} sequences of {@code length} tokens.
   *
   * @param gradScale factor on every gradient
   */
  MicroBatch(Chunk chunk, Backend backend, int batch, int length, double gradScale) {
    this.batch = batch;
    this.length = length;
    this.gradScale = gradScale;
    int tokens = Math.multiplyExact(batch, length);
    ids = backend.slot(tokens);
    targets = backend.slot(tokens);
    Indices.Slot positions = backend.slot(tokens);
    positions.set(Tokens.positions(batch, length));
    Tokens whole = new Tokens(batch, length, positions, /* recording= */ true);
    routine =
        backend.routine(
            () -> {
              try (Chunk.Pass pass = chunk.pass(ids, targets, whole, gradScale)) {
                chunk.forward(pass, 0);
                chunk.backward(pass, 0, done -> {});
              }
            });
  }

  /** Whether this is for micro-batches of that size. */
  boolean isFor(int batch, int length, double gradScale) {
    return batch == this.batch && length == this.length && gradScale == this.gradScale;
  }

  /** Runs one; ids and targets have been checked. */
  void run(int[] ids, int[] targets) {
    this.ids.set(ids);
    this.targets.set(targets);
    routine.run();
  }

  /** Forgets what the backend has recorded. */
  void close() {
    routine.close();
  }
}
