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
   * The layout that a run asks for; its model must have a shape.
   *
   * @throws IllegalArgumentException when it has {@link StepPlan#problems}
   */
  public static Layout of(RunConfig run) {
    StepPlan step = StepPlan.of(run, run.model().config());
    return new Layout(
        run.mesh(),
        step.layout(),
        step.shape().virtualStages(),
        step.microBatchSequences(),
        step.shape().expertOverlap(),
        step.shape().splitWeightGradient(),
        step.shape().offload());
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
        mesh.pipeline(), virtualStages, microBatches, expertOverlap, splitWeightGradient, offload);
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
    found.addAll(StepPlan.tiedEmbeddings(workload.model(), mesh.pipeline()));
    long unit = (long) mesh.data() * microBatch;
    if (workload.sequences() < unit || workload.sequences() % unit != 0) {
      found.add(
          "batchTokens: %,d sequences do not divide into micro-batches of %d on %d data-parallel ranks"
              .formatted(workload.sequences(), microBatch, mesh.data()));
    } else {
      List<String> tooMany = Schedule.Shape.tooMany(workload.sequences() / mesh.data(), microBatch);
      found.addAll(tooMany.isEmpty() ? shape(workload).problems() : tooMany);
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
