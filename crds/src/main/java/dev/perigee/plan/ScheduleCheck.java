package dev.perigee.plan;

import dev.perigee.plan.Step.Action;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntToDoubleFunction;

/**
 * Goes through a schedule as its ranks would, with receives that wait and sends that do not, and
 * says whether it ends, whether everything is done exactly once and in order, and how many
 * activations are alive. Each stage's list is taken in order and a send can always be made, so what
 * one interleaving of the stages does, every other one does too: that one ends proves that none
 * deadlocks.
 *
 * @param problems what is wrong, at most {@value #MOST_PROBLEMS} lines; empty when nothing is
 * @param peakLive the most (micro-batch, chunk) passes whose activations each stage keeps at a time
 */
public record ScheduleCheck(List<String> problems, List<Integer> peakLive) {
  private static final int MOST_PROBLEMS = 20;

  public ScheduleCheck {
    problems = List.copyOf(problems);
    peakLive = List.copyOf(peakLive);
  }

  /** Checks a schedule. */
  public static ScheduleCheck of(Schedule schedule) {
    List<String> problems = new ArrayList<>();
    exactlyOnce(schedule, problems);
    if (problems.isEmpty()) {
      inOrder(schedule, problems);
      ends(schedule, problems);
    }
    List<Integer> peaks = new ArrayList<>();
    for (int stage = 0; stage < schedule.shape().stages(); stage++) {
      peaks.add((int) peakLive(schedule, stage, chunk -> 1));
    }
    return new ScheduleCheck(problems.subList(0, Math.min(problems.size(), MOST_PROBLEMS)), peaks);
  }

  /** Everything that has to be done is in the list of its stage once, and nothing else is. */
  private static void exactlyOnce(Schedule schedule, List<String> problems) {
    for (int stage = 0; stage < schedule.steps().size(); stage++) {
      Set<Step> expected = expected(schedule, stage);
      Set<Step> seen = new HashSet<>();
      Set<Step> moved = new HashSet<>();
      for (Step step : schedule.steps().get(stage)) {
        if (!seen.add(step)) {
          problems.add("stage " + stage + " does " + step + " twice");
        }
        if (step.action() == Action.OFFLOAD || step.action() == Action.LOAD) {
          moved.add(step);
        } else if (!expected.contains(step)) {
          problems.add("stage " + stage + " does " + step + ", which is not for it to do");
        }
      }
      for (Step step : expected) {
        if (!seen.contains(step)) {
          problems.add("stage " + stage + " never does " + step);
        }
      }
      for (Step step : moved) {
        Action other = step.action() == Action.OFFLOAD ? Action.LOAD : Action.OFFLOAD;
        if (!moved.contains(new Step(other, step.microBatch(), step.chunk(), 0))
            || schedule.shape().stageOf(step.chunk()) != stage) {
          problems.add("stage " + stage + " does " + step + " without its " + other.label());
        }
      }
    }
  }

  private static Set<Step> expected(Schedule schedule, int stage) {
    Schedule.Shape shape = schedule.shape();
    Set<Step> expected = new LinkedHashSet<>();
    for (int chunk = stage; chunk < shape.chunks(); chunk += shape.stages()) {
      int parts = schedule.parts(chunk);
      for (int m = 0; m < shape.microBatches(); m++) {
        if (chunk > 0 && schedule.crosses(chunk, chunk - 1)) {
          expected.add(new Step(Action.RECEIVE_ACTIVATION, m, chunk, 0));
          expected.add(new Step(Action.SEND_GRADIENT, m, chunk, 0));
        }
        if (chunk < shape.chunks() - 1 && schedule.crosses(chunk, chunk + 1)) {
          expected.add(new Step(Action.SEND_ACTIVATION, m, chunk, 0));
          expected.add(new Step(Action.RECEIVE_GRADIENT, m, chunk, 0));
        }
        for (int part = 0; part < parts; part++) {
          expected.add(new Step(Action.FORWARD, m, chunk, part));
          expected.add(
              new Step(
                  shape.splitWeightGradient() ? Action.BACKWARD_INPUT : Action.BACKWARD,
                  m,
                  chunk,
                  part));
          if (shape.splitWeightGradient()) {
            expected.add(new Step(Action.BACKWARD_WEIGHT, m, chunk, part));
          }
          if (part < parts / 2) {
            expected.add(new Step(Action.DISPATCH, m, chunk, part));
            expected.add(new Step(Action.COMBINE, m, chunk, part));
            expected.add(new Step(Action.COMBINE_BACKWARD, m, chunk, part));
            expected.add(new Step(Action.DISPATCH_BACKWARD, m, chunk, part));
          }
        }
      }
    }
    return expected;
  }

  /** What the steps of all micro-batches work on in turn. */
  private record Gradient(Action action, int chunk, int part) {}

  /**
   * What a step needs of its own stage comes before it; and each weight gets its gradients in the
   * order of the micro-batches, so that every schedule adds the same numbers in the same order.
   */
  private static void inOrder(Schedule schedule, List<String> problems) {
    Action last = schedule.shape().splitWeightGradient() ? Action.BACKWARD_WEIGHT : Action.BACKWARD;
    for (int stage = 0; stage < schedule.steps().size(); stage++) {
      Set<Step> done = new HashSet<>();
      Map<Gradient, Integer> microBatchOf = new HashMap<>();
      for (Step step : schedule.steps().get(stage)) {
        for (Step needed : schedule.needs(step)) {
          if (schedule.shape().stageOf(needed.chunk()) == stage && !done.contains(needed)) {
            problems.add("stage " + stage + " does " + step + " before " + needed);
          }
        }
        if (step.action() == last || step.action() == Action.FORWARD) {
          Integer before =
              microBatchOf.put(
                  new Gradient(step.action(), step.chunk(), step.part()), step.microBatch());
          if (before != null && before > step.microBatch()) {
            problems.add(
                "stage " + stage + " does " + step + " after that of micro-batch " + before);
          }
        }
        done.add(step);
      }
    }
  }

  private static void ends(Schedule schedule, List<String> problems) {
    int stages = schedule.steps().size();
    int[] at = new int[stages];
    Set<Step> sent = new HashSet<>();
    boolean moved = true;
    while (moved) {
      moved = false;
      for (int stage = 0; stage < stages; stage++) {
        List<Step> steps = schedule.steps().get(stage);
        while (at[stage] < steps.size() && canGo(schedule, steps.get(at[stage]), sent)) {
          sent.add(steps.get(at[stage]++));
          moved = true;
        }
      }
    }
    for (int stage = 0; stage < stages; stage++) {
      List<Step> steps = schedule.steps().get(stage);
      if (at[stage] < steps.size()) {
        Step waiting = steps.get(at[stage]);
        problems.add(
            "deadlock: stage %d waits at %s for %s"
                .formatted(stage, waiting, schedule.needs(waiting)));
      }
    }
  }

  private static boolean canGo(Schedule schedule, Step step, Set<Step> sent) {
    return switch (step.action()) {
      case RECEIVE_ACTIVATION, RECEIVE_GRADIENT -> sent.containsAll(schedule.needs(step));
      default -> true;
    };
  }

  /**
   * The most that a stage keeps at a time between the first part of a pass's forward and the last
   * of its backward, without what is in host memory; an offload counts from its start.
   *
   * @param size what the activations of one pass over a chunk count as, by chunk
   */
  public static double peakLive(Schedule schedule, int stage, IntToDoubleFunction size) {
    double live = 0;
    double peak = 0;
    for (Step step : schedule.steps().get(stage)) {
      double ofChunk = size.applyAsDouble(step.chunk());
      switch (step.action()) {
        case FORWARD -> live += step.part() == 0 ? ofChunk : 0;
        case LOAD -> live += ofChunk;
        default -> {}
      }
      peak = Math.max(peak, live);
      switch (step.action()) {
        case BACKWARD, BACKWARD_WEIGHT -> live -= step.part() == 0 ? ofChunk : 0;
        case OFFLOAD -> live -= ofChunk;
        default -> {}
      }
    }
    return peak;
  }
}
