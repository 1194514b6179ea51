package dev.perigee.plan;

import dev.perigee.plan.Step.Action;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * What every stage does in one optimizer step, step by step: pure data, made by {@link #of}, proved
 * by {@link ScheduleCheck}, run by the engine and timed by the planner. All ranks of a stage have
 * the same list, so the ranks that share experts make the same exchanges in the same order.
 *
 * <p>A rank works through its list in order. A send, an exchange of experts, an offload and a load
 * only start something; whoever needs the result waits for it ({@link #needs}). A receive waits.
 */
public final class Schedule {
  private final Shape shape;
  private final List<Integer> expertLayers;
  private final List<List<Step>> steps;
  private final Set<Step> offloads = new HashSet<>();

  /**
   * What a schedule is made for.
   *
   * @param stages pipeline stages
   * @param virtualStages chunks on each stage; with more than one, 1F1B is interleaved ("Efficient
   *     large-scale language model training on GPU clusters", section 2.2)
   * @param microBatches of an optimizer step, on each data-parallel rank
   * @param expertOverlap whether each stage warms up with one more micro-batch, so that dispatch
   *     and combine of one run under the compute of another (Kimi K2 report, section 2.4)
   * @param splitWeightGradient whether weight gradients are computed apart and later, under the
   *     traffic between stages (the same; without {@code expertOverlap} the delay is that of ZB-H1,
   *     "Zero bubble pipeline parallelism", section 3; with it they also fill what exchanges leave)
   * @param offload whether activations that wait long enough go to host memory
   */
  public record Shape(
      int stages,
      int virtualStages,
      int microBatches,
      boolean expertOverlap,
      boolean splitWeightGradient,
      boolean offload) {

    /** Micro-batches that a step has at most: a schedule is a list, and an int numbers them. */
    public static final int MOST_MICRO_BATCHES = 1 << 20;

    /**
     * Why a step cannot have so many micro-batches on a rank; empty when it can.
     *
     * @param sequences of a rank
     * @param microBatchSequences of a micro-batch
     */
    static List<String> tooMany(long sequences, int microBatchSequences) {
      long microBatches = sequences / microBatchSequences;
      return microBatches <= MOST_MICRO_BATCHES
          ? List.of()
          : List.of(
              ("parallelism.microBatchSequences: the %d sequences of a rank (batchTokens /"
                      + " sequenceLength / data) in micro-batches of %d are %d micro-batches, and a"
                      + " step has at most %d; use larger micro-batches, a smaller batchTokens or"
                      + " more data")
                  .formatted(sequences, microBatchSequences, microBatches, MOST_MICRO_BATCHES));
    }

    /** A single stage that takes micro-batches one by one. */
    public static Shape single(int microBatches) {
      return new Shape(1, 1, microBatches, false, false, false);
    }

    /** The same with another number of micro-batches. */
    Shape withMicroBatches(int other) {
      return new Shape(stages, virtualStages, other, expertOverlap, splitWeightGradient, offload);
    }

    /** Chunks over all stages. */
    public int chunks() {
      return Math.multiplyExact(stages, virtualStages);
    }

    /** The stage of a chunk. */
    public int stageOf(int chunk) {
      return chunk % stages;
    }

    /** What is wrong, one line each with what would work; empty when nothing is. */
    public List<String> problems() {
      List<String> found = new ArrayList<>();
      atLeastOne(found, "pipeline", stages);
      atLeastOne(found, "virtualStages", virtualStages);
      atLeastOne(found, "micro-batches", microBatches);
      if (found.isEmpty() && virtualStages > 1 && microBatches % stages != 0) {
        int below = microBatches / stages * stages;
        found.add(
            "parallelism.virtualStages: %d virtual stages need a multiple of %d micro-batches, one"
                    .formatted(virtualStages, stages)
                + " for each stage, and there are %d; the nearest that work are %s%d"
                    .formatted(microBatches, below > 0 ? below + " and " : "", below + stages));
      }
      return found;
    }

    private static void atLeastOne(List<String> found, String field, int value) {
      if (value < 1) {
        found.add("parallelism." + field + ": " + value + " is less than 1");
      }
    }
  }

  /**
   * A schedule from its steps, good or not: {@link ScheduleCheck} tells.
   *
   * @param shape what it is for
   * @param expertLayers layers of experts in each chunk, by chunk
   * @param steps the list of each stage
   */
  Schedule(Shape shape, List<Integer> expertLayers, List<List<Step>> steps) {
    this.shape = shape;
    this.expertLayers = List.copyOf(expertLayers);
    this.steps = steps.stream().map(List::copyOf).toList();
    for (List<Step> ofStage : steps) {
      ofStage.stream().filter(s -> s.action() == Action.OFFLOAD).forEach(offloads::add);
    }
  }

  /** What it was made for. */
  public Shape shape() {
    return shape;
  }

  /** Layers of experts in each chunk, by chunk. */
  public List<Integer> expertLayers() {
    return expertLayers;
  }

  /** The list of each stage. */
  public List<List<Step>> steps() {
    return steps;
  }

  /**
   * The schedule of a shape: 1F1B, interleaved where there are virtual stages.
   *
   * @param expertLayers layers of experts in each chunk, by chunk; they matter only where experts
   *     overlap
   * @throws IllegalArgumentException when the shape has {@link Shape#problems}
   */
  public static Schedule of(Shape shape, List<Integer> expertLayers) {
    if (!shape.problems().isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", shape.problems()));
    }
    if (expertLayers.size() != shape.chunks()) {
      throw new IllegalArgumentException(
          "layers of experts for " + expertLayers.size() + " of " + shape.chunks() + " chunks");
    }
    List<List<Step>> steps = new ArrayList<>();
    for (int stage = 0; stage < shape.stages(); stage++) {
      steps.add(new ScheduleMaker(shape, expertLayers, stage).make());
    }
    return new Schedule(shape, expertLayers, steps);
  }

  /** Parts that a chunk computes in. */
  public int parts(int chunk) {
    return parts(shape, expertLayers, chunk);
  }

  static int parts(Shape shape, List<Integer> expertLayers, int chunk) {
    return shape.expertOverlap() ? 2 * expertLayers.get(chunk) + 1 : 1;
  }

  /** Whether what a chunk makes for its neighbour goes to another stage. */
  public boolean crosses(int chunk, int neighbour) {
    return shape.stageOf(chunk) != shape.stageOf(neighbour);
  }

  /**
   * The steps whose results a step needs; they are steps of its own stage, but for the send that a
   * receive waits for.
   */
  public List<Step> needs(Step s) {
    List<Step> needed = new ArrayList<>();
    int last = parts(s.chunk()) - 1;
    switch (s.action()) {
      case FORWARD -> {
        if (s.part() > 0) {
          Action exchange = s.part() % 2 == 1 ? Action.DISPATCH : Action.COMBINE;
          needed.add(of(s, exchange, (s.part() - 1) / 2));
          needed.add(of(s, Action.FORWARD, s.part() - 1));
        } else if (s.chunk() > 0 && crosses(s.chunk(), s.chunk() - 1)) {
          needed.add(of(s, Action.RECEIVE_ACTIVATION, 0));
        } else if (s.chunk() > 0) {
          int before = s.chunk() - 1;
          needed.add(new Step(Action.FORWARD, s.microBatch(), before, parts(before) - 1));
        }
      }
      case DISPATCH -> needed.add(of(s, Action.FORWARD, 2 * s.part()));
      case COMBINE -> needed.add(of(s, Action.FORWARD, 2 * s.part() + 1));
      case COMBINE_BACKWARD -> needed.add(of(s, inputGradient(), 2 * s.part() + 2));
      case DISPATCH_BACKWARD -> needed.add(of(s, inputGradient(), 2 * s.part() + 1));
      case BACKWARD, BACKWARD_INPUT -> {
        if (s.part() < last) {
          Action exchange = s.part() % 2 == 1 ? Action.COMBINE_BACKWARD : Action.DISPATCH_BACKWARD;
          needed.add(of(s, exchange, s.part() / 2));
          needed.add(of(s, s.action(), s.part() + 1));
        } else {
          needed.add(of(s, Action.FORWARD, last));
          if (s.chunk() < shape.chunks() - 1 && crosses(s.chunk(), s.chunk() + 1)) {
            needed.add(of(s, Action.RECEIVE_GRADIENT, 0));
          } else if (s.chunk() < shape.chunks() - 1) {
            needed.add(new Step(s.action(), s.microBatch(), s.chunk() + 1, 0));
          }
          if (offloads.contains(of(s, Action.OFFLOAD, 0))) {
            needed.add(of(s, Action.LOAD, 0));
          }
        }
      }
      case BACKWARD_WEIGHT -> {
        needed.add(of(s, Action.BACKWARD_INPUT, s.part()));
        if (s.part() < last) {
          needed.add(of(s, Action.BACKWARD_WEIGHT, s.part() + 1));
        }
      }
      case SEND_ACTIVATION, OFFLOAD -> needed.add(of(s, Action.FORWARD, last));
      case SEND_GRADIENT -> needed.add(of(s, inputGradient(), 0));
      case RECEIVE_ACTIVATION ->
          needed.add(new Step(Action.SEND_ACTIVATION, s.microBatch(), s.chunk() - 1, 0));
      case RECEIVE_GRADIENT ->
          needed.add(new Step(Action.SEND_GRADIENT, s.microBatch(), s.chunk() + 1, 0));
      case LOAD -> needed.add(of(s, Action.OFFLOAD, 0));
    }
    return needed;
  }

  private static Step of(Step like, Action action, int part) {
    return new Step(action, like.microBatch(), like.chunk(), part);
  }

  private Action inputGradient() {
    return shape.splitWeightGradient() ? Action.BACKWARD_INPUT : Action.BACKWARD;
  }
}
