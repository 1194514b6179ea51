package dev.perigee.trainer;

import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * What the outside has asked this pod for. The ranks of all pods agree on it between two steps, so
 * that they act on it in the same one.
 */
final class Requests {
  private final AtomicBoolean stop = new AtomicBoolean();
  private final AtomicBoolean checkpoint = new AtomicBoolean();

  /** What all ranks do next. */
  record Agreed(boolean stop, boolean checkpoint) {}

  /** Save and end after this step. */
  void stop() {
    stop.set(true);
  }

  boolean stopRequested() {
    return stop.get();
  }

  /** Save after this step. */
  void checkpoint() {
    checkpoint.set(true);
  }

  /**
   * Collective: what any pod was asked for.
   *
   * @param speaks whether this rank speaks for its pod
   */
  Agreed agree(Collectives world, boolean speaks) {
    Tensor wishes =
        Tensor.of(
            new float[] {
              speaks && stop.get() ? 1 : 0, speaks && checkpoint.getAndSet(false) ? 1 : 0
            },
            2);
    world.allReduceMax(wishes);
    return new Agreed(wishes.floats()[0] > 0, wishes.floats()[1] > 0);
  }
}
