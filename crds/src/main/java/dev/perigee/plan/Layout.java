package dev.perigee.plan;

import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * How a workload is laid out over ranks and over time.
 *
 * @param mesh the ranks
 * @param stages the layers of each chunk
 * @param virtualStages chunks on each stage
 * @param microBatch sequences of a micro-batch on each data-parallel rank
 * @param expertOverlap see {@link Schedule.Shape}
 * @param splitWeightGradient see {@link Schedule.Shape}
 * @param offload see {@link Schedule.Shape}
 */
public record Layout(
    Mesh mesh,
    StageLayout stages,
    int virtualStages,
    int microBatch,
    boolean expertOverlap,
    boolean splitWeightGradient,
    boolean offload) {

  /**
   * Tokens that a micro-batch has at most on a CPU, if one sequence is not longer: few enough to
   * stay in a core's own cache.
   */
  private static final int MICRO_BATCH_TOKENS = 512;

  /** The layout that a run asks for; its model must have a shape. */
  public static Layout of(RunConfig run) {
    Mesh mesh = run.mesh();
    int chunks = mesh.pipeline();
    return new Layout(
        mesh,
        StageLayout.byCost(run.model().config(), chunks, run.sequenceLength()),
        1,
        microBatch(run.batchSequences() / mesh.data(), run.sequenceLength()),
        false,
        false,
        false);
  }

  /**
   * Sequences of a micro-batch: the largest power of two that divides a rank's share and stays
   * within the tokens that suit a cache.
   */
  static int microBatch(long sequences, int sequenceLength) {
    int size = 1;
    while (sequences % (2L * size) == 0 && 2L * size * sequenceLength <= MICRO_BATCH_TOKENS) {
      size *= 2;
    }
    return size;
  }

  /** Micro-batches of a step on each data-parallel rank. */
  public int microBatches(Workload workload) {
    return Math.toIntExact(workload.sequences() / ((long) mesh.data() * microBatch));
  }

  /** The shape of the schedule. */
  public Schedule.Shape shape(Workload workload) {
    return shape(microBatches(workload));
  }

  Schedule.Shape shape(int microBatches) {
    return new Schedule.Shape(
        mesh.pipeline(),
        virtualStages,
        microBatches,
        expertOverlap,
        splitWeightGradient,
        offload);
  }

  /** Why a workload cannot be laid out so, one line each; empty when it can. */
  public List<String> problems(Workload workload) {
    List<String> found = new ArrayList<>(mesh.problems(workload.model().nRoutedExperts()));
    if (!found.isEmpty()) {
      return found;
    }
    found.addAll(
        stages.problems(
            Math.multiplyExact(mesh.pipeline(), virtualStages),
            workload.model().numHiddenLayers()));
    long unit = (long) mesh.data() * microBatch;
    if (workload.sequences() < unit || workload.sequences() % unit != 0) {
      found.add(
          "batchTokens: %,d sequences do not divide into micro-batches of %d on %d data-parallel ranks"
              .formatted(workload.sequences(), microBatch, mesh.data()));
    } else {
      found.addAll(shape(workload).problems());
    }
    return found;
  }

  /** In a line, for people. */
  @Override
  public String toString() {
    List<String> parts = new ArrayList<>();
    parts.add("pipeline " + mesh.pipeline());
    if (virtualStages > 1) {
      parts.add("virtualStages " + virtualStages);
    }
    parts.add("data " + mesh.data());
    parts.add("expert " + mesh.expert());
    parts.add("ranksPerPod " + mesh.ranksPerPod());
    parts.add("micro-batch " + microBatch);
    return String.join(", ", parts);
  }
}
