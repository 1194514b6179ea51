package dev.perigee.plan;

import dev.perigee.plan.Schedule.Shape;
import dev.perigee.plan.Step.Action;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;

/**
 * Makes one stage's list: forwards of the warm-up, then pairs of a forward and a backward, then the
 * backwards that are left. In a pair whose experts overlap, the parts of the two micro-batches take
 * turns, so that each exchange is under way while a part of the other computes.
 *
 * <p>All of these parts are long but one: attention's forward, which covers a combine going
 * backwards, may be shorter than the exchange ("with fewer attention heads its time must shrink",
 * Kimi K2 report, section 2.4). Where weight gradients are apart they fill that gap: those of the
 * parts that are behind, and at the beginning of a pair what is left of the pair before. The latter
 * also covers what goes between the stages at the end of a pair. With two layers of experts, and '
 * for the pair before:
 *
 * <pre>
 * compute   B4 W2' W1' W0' F0 B3 F1 B2 F2 W4 W3 B1 F3 B0 F4 | B4 W2 W1 W0 F0 …
 * experts     CB1-----       D0 DB1 C0 CB0 D1    DB0 C1     |
 * </pre>
 */
final class ScheduleMaker {
  /** A pass of one micro-batch over one chunk. */
  private record Pass(int microBatch, int chunk) {}

  /** Steps in between which nothing of another pass comes, up to an exchange. */
  private record Segment(List<Step> steps) {}

  /**
   * What the stage does between two choices of what to do next.
   *
   * @param forward the pass that it computes, or null
   * @param backward the pass whose gradients it computes, or null
   */
  private record Round(Pass forward, Pass backward, List<Step> steps) {}

  /**
   * Rounds from a forward to its backward from which on offloading pays: copy out under one, be
   * gone for one at least, and copy back under one.
   */
  private static final int OFFLOAD_FROM = 4;

  private final Shape shape;
  private final List<Integer> expertLayers;
  private final int stage;

  ScheduleMaker(Shape shape, List<Integer> expertLayers, int stage) {
    this.shape = shape;
    this.expertLayers = expertLayers;
    this.stage = stage;
  }

  List<Step> make() {
    List<Pass> forwards = passes(false);
    List<Pass> backwards = passes(true);
    int warmUp = Math.min(forwards.size(), warmUp());
    // ZB-H1: the later a stage is in the model, the fewer activations it keeps, and the longer its
    // weight gradients can wait without keeping more than the first stage does.
    int delay = stage;
    Queue<Pass> weightGradients = new ArrayDeque<>();
    Queue<Step> left = new ArrayDeque<>();
    List<Round> rounds = new ArrayList<>();
    for (int k = 0; k < forwards.size() + warmUp; k++) {
      Pass forward = k < forwards.size() ? forwards.get(k) : null;
      Pass backward = k >= warmUp ? backwards.get(k - warmUp) : null;
      List<Step> steps = round(forward, backward, left);
      if (shape.splitWeightGradient() && !shape.expertOverlap() && backward != null) {
        weightGradients.add(backward);
        while (weightGradients.size() > delay) {
          steps.add(weightGradient(weightGradients.remove(), 0));
        }
      }
      rounds.add(new Round(forward, backward, steps));
    }
    if (!rounds.isEmpty()) {
      weightGradients.forEach(pass -> rounds.getLast().steps.add(weightGradient(pass, 0)));
      rounds.getLast().steps.addAll(left);
    }
    return offloaded(rounds);
  }

  /**
   * Micro-batches in groups of one for each stage; each group goes through one chunk after another.
   */
  private List<Pass> passes(boolean backward) {
    List<Pass> found = new ArrayList<>();
    for (int first = 0; first < shape.microBatches(); first += shape.stages()) {
      int end = Math.min(shape.microBatches(), first + shape.stages());
      for (int k = 0; k < shape.virtualStages(); k++) {
        int place = backward ? shape.virtualStages() - 1 - k : k;
        for (int microBatch = first; microBatch < end; microBatch++) {
          found.add(new Pass(microBatch, place * shape.stages() + stage));
        }
      }
    }
    return found;
  }

  /** Forwards before the first backward. */
  private int warmUp() {
    int behind = shape.stages() - 1 - stage;
    int standard =
        shape.virtualStages() == 1
            ? behind
            : 2 * behind + (shape.virtualStages() - 1) * shape.stages();
    return standard + (shape.expertOverlap() ? 1 : 0);
  }

  /**
   * A forward and a backward.
   *
   * @param left weight gradients of the pair before, which go in; then those that this one leaves
   */
  private List<Step> round(Pass forward, Pass backward, Queue<Step> left) {
    List<Segment> there = forward == null ? List.of() : forward(forward);
    List<Segment> back = backward == null ? List.of() : backward(backward);
    List<Step> steps = new ArrayList<>();
    if (!shape.expertOverlap() || dependent(forward, backward)) {
      there.forEach(segment -> steps.addAll(segment.steps));
      back.forEach(segment -> steps.addAll(segment.steps));
      return steps;
    }
    Queue<Step> behind = new ArrayDeque<>();
    for (int i = 0; i < Math.max(there.size(), back.size()); i++) {
      // The backward first: its last part then covers the forward's last exchange, and the
      // forward's first part the backward's first.
      if (i < back.size()) {
        steps.addAll(back.get(i).steps);
      }
      if (i == 0) {
        steps.addAll(left);
        left.clear();
      }
      if (i < there.size()) {
        steps.addAll(there.get(i).steps);
      }
      if (i > 0 && i % 2 == 0 && i < back.size() - 1) { // a combine going backwards is under way
        steps.addAll(behind);
        behind.clear();
      }
      if (shape.splitWeightGradient() && i < back.size()) {
        behind.add(weightGradient(backward, back.size() - 1 - i));
      }
    }
    left.addAll(behind);
    return steps;
  }

  /** Whether a backward has to wait for the very forward that it would be paired with. */
  private static boolean dependent(Pass forward, Pass backward) {
    return forward != null && forward.equals(backward);
  }

  private List<Segment> forward(Pass pass) {
    int chunk = pass.chunk;
    int parts = Schedule.parts(shape, expertLayers, chunk);
    List<Segment> segments = new ArrayList<>();
    for (int part = 0; part < parts; part++) {
      List<Step> steps = new ArrayList<>();
      if (part == 0 && chunk > 0 && crosses(chunk, chunk - 1)) {
        steps.add(step(Action.RECEIVE_ACTIVATION, pass, 0));
      }
      steps.add(step(Action.FORWARD, pass, part));
      if (part < parts - 1) {
        steps.add(step(part % 2 == 0 ? Action.DISPATCH : Action.COMBINE, pass, part / 2));
      } else if (chunk < shape.chunks() - 1 && crosses(chunk, chunk + 1)) {
        steps.add(step(Action.SEND_ACTIVATION, pass, 0));
      }
      segments.add(new Segment(steps));
    }
    return segments;
  }

  private List<Segment> backward(Pass pass) {
    int chunk = pass.chunk;
    int parts = Schedule.parts(shape, expertLayers, chunk);
    Action gradient = shape.splitWeightGradient() ? Action.BACKWARD_INPUT : Action.BACKWARD;
    List<Segment> segments = new ArrayList<>();
    for (int part = parts - 1; part >= 0; part--) {
      List<Step> steps = new ArrayList<>();
      if (part == parts - 1 && chunk < shape.chunks() - 1 && crosses(chunk, chunk + 1)) {
        steps.add(step(Action.RECEIVE_GRADIENT, pass, 0));
      }
      steps.add(step(gradient, pass, part));
      if (part > 0) {
        Action exchange = part % 2 == 0 ? Action.COMBINE_BACKWARD : Action.DISPATCH_BACKWARD;
        steps.add(step(exchange, pass, (part - 1) / 2));
      } else if (chunk > 0 && crosses(chunk, chunk - 1)) {
        steps.add(step(Action.SEND_GRADIENT, pass, 0));
      }
      segments.add(new Segment(steps));
    }
    return segments;
  }

  private static Step weightGradient(Pass pass, int part) {
    return step(Action.BACKWARD_WEIGHT, pass, part);
  }

  /** The rounds one after the other, with what is copied out and back in between. */
  private List<Step> offloaded(List<Round> rounds) {
    List<List<Step>> before = new ArrayList<>();
    rounds.forEach(round -> before.add(new ArrayList<>()));
    if (shape.offload()) {
      Map<Pass, Integer> backwards = new HashMap<>();
      for (int j = 0; j < rounds.size(); j++) {
        backwards.put(rounds.get(j).backward, j);
      }
      for (int i = 0; i < rounds.size(); i++) {
        Pass pass = rounds.get(i).forward;
        int j = pass == null ? i : backwards.get(pass);
        if (j >= i + OFFLOAD_FROM) {
          before.get(i + 1).add(step(Action.OFFLOAD, pass, 0));
          before.get(j - 1).add(step(Action.LOAD, pass, 0));
        }
      }
    }
    List<Step> steps = new ArrayList<>();
    for (int i = 0; i < rounds.size(); i++) {
      steps.addAll(before.get(i));
      steps.addAll(rounds.get(i).steps);
    }
    return steps;
  }

  private boolean crosses(int chunk, int neighbour) {
    return shape.stageOf(chunk) != shape.stageOf(neighbour);
  }

  private static Step step(Action action, Pass pass, int part) {
    return new Step(action, pass.microBatch, pass.chunk, part);
  }
}
