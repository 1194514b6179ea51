package dev.perigee.plan;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * Bytes of the fullest rank of a stage.
 *
 * @param stage which
 * @param parameters weights in the precision of the forward pass
 * @param gradients float32 sums
 * @param optimizer precise weights where they are apart, momentum and moments, as ZeRO shares them
 * @param activations of all micro-batches that are under way, and what a backward and the loss take
 *     besides
 * @param buffers of the gradients' exchange and of Newton–Schulz
 */
public record RankMemory(
    int stage, long parameters, long gradients, long optimizer, long activations, long buffers) {

  /** All of it. */
  public long total() {
    return parameters + gradients + optimizer + activations + buffers;
  }

  /** The fullest rank of each stage. */
  static List<RankMemory> of(Workload w, Layout layout, Hardware hardware, Schedule schedule) {
    ActivationCount activations = new ActivationCount(w, layout, hardware);
    List<RankMemory> found = new ArrayList<>();
    for (int stage = 0; stage < layout.mesh().pipeline(); stage++) {
      found.add(of(w, layout, hardware, schedule, activations, stage));
    }
    return found;
  }

  /** Bytes of weights, gradients and the optimizer's state, which no schedule changes. */
  static long certain(Workload w, Layout layout, Hardware.Precision precision, int stage) {
    StageWeights weights = StageWeights.of(w, layout, precision, stage);
    return (weights.dense() + weights.experts())
            * (precision.weight() + Hardware.Precision.GRADIENT)
        + weights.fullestShare().bytes(precision);
  }

  /** The stage whose rank is fullest. */
  static RankMemory fullest(List<RankMemory> stages) {
    return Collections.max(stages, Comparator.comparingLong(RankMemory::total));
  }

  private static RankMemory of(
      Workload w,
      Layout layout,
      Hardware hardware,
      Schedule schedule,
      ActivationCount activations,
      int stage) {
    StageWeights weights = StageWeights.of(w, layout, hardware.precision(), stage);
    long numbers = weights.dense() + weights.experts();
    Hardware.Precision precision = hardware.precision();
    Ownership.Share share = weights.fullestShare();
    return new RankMemory(
        stage,
        numbers * precision.weight() + 4 * weights.untrained(),
        numbers * Hardware.Precision.GRADIENT,
        share.bytes(precision),
        live(schedule, activations, layout, stage),
        buffers(w, weights, layout, share, precision));
  }

  /** The most that is kept at a time of all passes over the stage's chunks. */
  private static long live(
      Schedule schedule, ActivationCount activations, Layout layout, int stage) {
    StageLayout stages = layout.stages();
    int chunks = stages.chunks();
    long[] kept = new long[chunks];
    long[][] keptByPart = new long[chunks][];
    long[] working = new long[chunks];
    long[][] delayed = new long[chunks][];
    long[][] again = new long[chunks][];
    long[][] weightAgain = new long[chunks][];
    for (int chunk = stage; chunk < chunks; chunk += layout.mesh().pipeline()) {
      keptByPart[chunk] = activations.kept(stages, chunk, schedule.parts(chunk));
      kept[chunk] = Arrays.stream(keptByPart[chunk]).sum();
      working[chunk] = activations.working(stages, chunk);
      delayed[chunk] = activations.delayed(stages, chunk, schedule.parts(chunk));
      again[chunk] = activations.again(stages, chunk, schedule.parts(chunk), false);
      weightAgain[chunk] = activations.again(stages, chunk, schedule.parts(chunk), true);
    }
    long live = 0;
    for (int chunk = stage; chunk < chunks; chunk += layout.mesh().pipeline()) {
      live += activations.loss(stages, chunk);
    }
    long peak = 0;
    long held = 0; // by a backward of which parts are still to come, while a forward takes turns
    long heldForWeights = 0; // after it
    for (Step step : schedule.steps().get(stage)) {
      int chunk = step.chunk();
      boolean first = step.part() == 0;
      switch (step.action()) {
        case FORWARD -> live += keptByPart[chunk][step.part()];
        case BACKWARD -> held = working[chunk];
        case BACKWARD_INPUT -> {
          live += delayed[chunk][step.part()];
          held += again[chunk][step.part()];
        }
        case BACKWARD_WEIGHT -> heldForWeights += weightAgain[chunk][step.part()];
        case LOAD -> live += kept[chunk];
        default -> {}
      }
      boolean attends =
          (step.action() == Step.Action.BACKWARD || step.action() == Step.Action.BACKWARD_INPUT)
              && stages.layers().get(chunk) > 0;
      peak = Math.max(peak, live + held + heldForWeights + (attends ? activations.passing() : 0));
      switch (step.action()) {
        case BACKWARD -> {
          live -= first ? kept[chunk] : 0;
          held = first ? 0 : held;
        }
        case BACKWARD_INPUT -> {
          held = first ? 0 : held;
          heldForWeights = first ? 0 : heldForWeights; // what parts behind needed goes with it
        }
        case BACKWARD_WEIGHT -> {
          live -= first ? kept[chunk] + Arrays.stream(delayed[chunk]).sum() : 0;
          heldForWeights = first ? 0 : heldForWeights;
        }
        case OFFLOAD -> live -= kept[chunk];
        default -> {}
      }
    }
    return peak;
  }

  /**
   * A bucket of gradients or weights in float32, as large as the largest one, and what
   * Newton–Schulz works on: a copy of the matrix, its update, and two Gram matrices.
   */
  private static long buffers(
      Workload w,
      StageWeights weights,
      Layout layout,
      Ownership.Share share,
      Hardware.Precision precision) {
    long dense = layout.mesh().data() > 1 ? weights.dense() : 0;
    long experts = layout.mesh().replicas() > 1 ? weights.experts() : 0;
    long bucket =
        Math.min(
            4 * Math.max(dense, experts),
            Math.max(w.memory().bucketBytes(), 4 * weights.largest()));
    long scratch = 2 * (share.largestMatrix() + share.largestGram());
    return bucket + precision.weight() * scratch;
  }
}
