package dev.perigee.plan;

import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.plan.Timeline.Track;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Runs a {@link Schedule} in thought. A rank takes its steps in order: it computes by itself,
 * starts sends, exchanges and copies and goes on, and waits where it needs what is not there yet.
 * Exchanges of experts follow each other on one lane, sends on another, copies on a third, as in
 * the engine.
 */
public final class Simulator {
  private final Schedule schedule;
  private final StepCosts costs;
  private final int maxParts;
  private final double[] ends;
  private final int[] at;
  private final double[][] free;
  private final List<List<Event>> events = new ArrayList<>();

  private Simulator(Schedule schedule, StepCosts costs) {
    this.schedule = schedule;
    this.costs = costs;
    Schedule.Shape shape = schedule.shape();
    int most = 1;
    for (int chunk = 0; chunk < shape.chunks(); chunk++) {
      most = Math.max(most, schedule.parts(chunk));
    }
    maxParts = most;
    ends = new double[Step.Action.values().length * shape.microBatches() * shape.chunks() * most];
    Arrays.fill(ends, Double.NaN);
    at = new int[shape.stages()];
    free = new double[shape.stages()][Lane.values().length];
    for (int stage = 0; stage < shape.stages(); stage++) {
      events.add(new ArrayList<>());
    }
  }

  /**
   * The timeline of a schedule.
   *
   * @throws IllegalArgumentException when the schedule deadlocks; {@link ScheduleCheck} says where
   */
  public static Timeline run(Schedule schedule, StepCosts costs) {
    return new Simulator(schedule, costs).run();
  }

  private Timeline run() {
    boolean moved = true;
    while (moved) {
      moved = false;
      for (int stage = 0; stage < at.length; stage++) {
        List<Step> steps = schedule.steps().get(stage);
        while (at[stage] < steps.size() && take(stage, steps.get(at[stage]))) {
          at[stage]++;
          moved = true;
        }
      }
    }
    List<Track> tracks = new ArrayList<>();
    for (int stage = 0; stage < at.length; stage++) {
      if (at[stage] < schedule.steps().get(stage).size()) {
        throw new IllegalArgumentException(
            "stage %d waits forever at %s"
                .formatted(stage, schedule.steps().get(stage).get(at[stage])));
      }
      tracks.add(new Track("stage " + stage, events.get(stage)));
    }
    return new Timeline(tracks);
  }

  /** Takes a step, unless it needs what no stage has begun yet. */
  private boolean take(int stage, Step step) {
    double ready = 0;
    for (Step needed : schedule.needs(step)) {
      double end = ends[index(needed)];
      if (Double.isNaN(end)) {
        return false;
      }
      ready = Math.max(ready, end);
    }
    Lane lane = Lane.of(step.action());
    double[] lanes = free[stage];
    int compute = Lane.COMPUTE.number();
    double start = lanes[compute];
    double end;
    switch (step.action()) {
      case FORWARD, BACKWARD, BACKWARD_INPUT, BACKWARD_WEIGHT -> {
        start = Math.max(start, ready);
        end = start + costs.seconds(step);
        lanes[compute] = end;
      }
      case RECEIVE_ACTIVATION, RECEIVE_GRADIENT -> {
        end = Math.max(start, ready);
        lanes[compute] = end;
      }
      default -> {
        start = Math.max(Math.max(start, ready), lanes[lane.number()]);
        end = start + costs.seconds(step);
        lanes[lane.number()] = end;
      }
    }
    ends[index(step)] = end;
    events.get(stage).add(new Event(step.name(), lane, start, end));
    return true;
  }

  @SuppressWarnings("EnumOrdinal") // an index into arrays of this run, kept nowhere
  private int index(Step step) {
    Schedule.Shape shape = schedule.shape();
    int action = step.action().ordinal();
    return ((action * shape.microBatches() + step.microBatch()) * shape.chunks() + step.chunk())
            * maxParts
        + step.part();
  }
}
