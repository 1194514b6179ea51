package dev.perigee.engine.bench;

import dev.perigee.plan.Timeline;
import dev.perigee.run.Mesh;
import java.util.List;

/**
 * What the ranks of a gang are asked to do, and what they say; both travel as JSON between the
 * benchmark's processes.
 *
 * @param kind of work
 * @param mesh of the ranks
 * @param overlap whether experts' rows travel under compute
 * @param first step
 * @param last step
 * @param from folder of checkpoints to go on from, null for first weights
 * @param to folder for a checkpoint after half of the shape's steps, null for none
 */
record GangWork(
    Kind kind,
    GangShape shape,
    Mesh mesh,
    boolean overlap,
    long first,
    long last,
    String from,
    String to) {
  /** Kinds of work. */
  enum Kind {
    /** Every collective in every size: {@link CollectiveSweep}. */
    COLLECTIVES,
    /** Steps of training: {@link SliceTraining}. */
    TRAINING,
    /** Exchanging rows until a peer is lost. */
    EXCHANGE_FOR_EVER
  }

  /**
   * What a rank has done.
   *
   * @param way that its tensors travel
   * @param collectives of a sweep
   * @param losses of the steps
   * @param seconds of the steps
   * @param track of the last step, in seconds of the machine's clock; null for a sweep
   * @param saveSeconds that saving the checkpoint took, 0 when nothing was saved
   */
  record Done(
      String way,
      List<Collective> collectives,
      List<Double> losses,
      List<Double> seconds,
      Timeline.Track track,
      double saveSeconds) {}

  /**
   * One collective in one size.
   *
   * @param elements of the tensor on a rank, float32
   * @param right whether every number was the CPU's
   * @param seconds median of the repeats; 0 when it was not timed
   */
  record Collective(String name, long elements, boolean right, double seconds) {
    /** The tensor's bytes by the time: what PyTorch's is computed from as well. */
    double gigabytesPerSecond() {
      return seconds == 0 ? 0 : Float.BYTES * elements / seconds / 1e9;
    }
  }
}
