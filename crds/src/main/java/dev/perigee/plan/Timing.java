package dev.perigee.plan;

import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.plan.Timeline.Track;
import java.util.ArrayList;
import java.util.List;

/**
 * What an optimizer step takes.
 *
 * @param bubbleShare of the ranks' time between the first forward and the last backward in which
 *     they wait for each other, 0 to 1
 * @param expertsHidden share of the experts' exchange that runs under compute of the same rank
 *     while forwards and backwards alternate; 1 without exchange
 * @param microBatchesSimulated of the step; beyond them time grows evenly
 * @param seconds the step's parts; null when speeds are not known
 */
public record Timing(
    double bubbleShare, double expertsHidden, int microBatchesSimulated, Seconds seconds) {

  /**
   * Seconds.
   *
   * @param pipeline all forwards and backwards
   * @param exposedExperts of these, because experts exchange
   * @param exposedPipeline of these, because stages hand over
   * @param update gradients' sums, Newton–Schulz of the rank with most of it, and new weights, one
   *     after the other and after the last backward
   * @param tokensPerSecond over all ranks
   * @param modelFlopsUtilization the model's operations over what the GPUs could do at their peak;
   *     null without a GPU
   */
  public record Seconds(
      double pipeline,
      double exposedExperts,
      double exposedPipeline,
      double update,
      double tokensPerSecond,
      Double modelFlopsUtilization) {

    /** The whole step. */
    public double step() {
      return pipeline + update;
    }
  }

  /** A pipeline that long is in its even part at three micro-batches for each stage. */
  private static final int SIMULATED_PER_STAGE = 4;

  /** One step as the simulator sees it, or the beginning of one of many micro-batches. */
  public static Timeline timeline(
      Workload w, Layout layout, Hardware hardware, Calibration calibration) {
    int most = simulated(layout.mesh().pipeline(), layout.microBatches(w));
    Schedule schedule = Schedule.of(layout.shape(most), layout.stages().expertLayers(w.model()));
    return Simulator.run(schedule, new ModelCosts(w, layout, hardware, calibration, schedule));
  }

  /** Micro-batches that are simulated. */
  public static int simulated(int stages, int microBatches) {
    return Math.min(microBatches, SIMULATED_PER_STAGE * stages);
  }

  static Timing of(
      Workload w, Layout layout, Hardware hardware, Calibration calibration, Traffic traffic) {
    int microBatches = layout.microBatches(w);
    Simulation whole = Simulation.of(w, layout, hardware, calibration, microBatches);
    double span = whole.span;
    double busy = whole.computeSeconds * microBatches;
    double bubble =
        Math.max(0, 1 - busy / (span * layout.mesh().pipeline())); // not a rounding's -0
    boolean known = isOfKnownSpeed(hardware) || calibration.isOfCompute();
    Seconds seconds = null;
    if (known) {
      Speeds speeds = Speeds.of(hardware, calibration);
      double newtonSchulz = 0;
      for (int stage = 0; stage < layout.mesh().pipeline(); stage++) {
        newtonSchulz =
            Math.max(
                newtonSchulz,
                StageWeights.of(w, layout, hardware.precision(), stage).slowestFlops());
      }
      double update =
          traffic.updateSeconds(layout, hardware, speeds)
              + (speeds.dense() > 1 ? newtonSchulz / speeds.dense() : 0);
      double step = span + update;
      Double utilization = null;
      if (hardware instanceof Hardware.Gpus(var gpu, var _, var _) && isOfKnownSpeed(hardware)) {
        double flops = FlopCount.model(w.model(), w.sequenceLength()).training() * w.batchTokens();
        utilization = flops / (step * layout.mesh().world() * gpu.bf16Flops());
      }
      seconds =
          new Seconds(
              span,
              span - whole.spanWithoutExperts,
              span - whole.spanWithoutPipeline,
              update,
              w.batchTokens() / step,
              utilization);
    }
    return new Timing(
        bubble, whole.hidden, simulated(layout.mesh().pipeline(), microBatches), seconds);
  }

  /** What a GPU reaches in float32 is not in its vendor's figures. */
  private static boolean isOfKnownSpeed(Hardware hardware) {
    return hardware instanceof Hardware.Gpus
        && hardware.precision().equals(Hardware.Precision.BF16);
  }

  /** Spans of a step, made from that of fewer micro-batches where a step has many. */
  private record Simulation(
      double span,
      double spanWithoutExperts,
      double spanWithoutPipeline,
      double computeSeconds,
      double hidden) {

    static Simulation of(
        Workload w, Layout layout, Hardware hardware, Calibration calibration, int microBatches) {
      int stages = layout.mesh().pipeline();
      int most = simulated(stages, microBatches);
      Schedule schedule = Schedule.of(layout.shape(most), layout.stages().expertLayers(w.model()));
      ModelCosts costs = new ModelCosts(w, layout, hardware, calibration, schedule);
      Timeline timeline = Simulator.run(schedule, costs);
      double[] spans = {
        timeline.span(),
        Simulator.run(schedule, without(Lane.EXPERTS, costs)).span(),
        Simulator.run(schedule, without(Lane.PIPELINE, costs)).span()
      };
      if (most < microBatches) {
        Schedule fewer =
            Schedule.of(layout.shape(most - stages), layout.stages().expertLayers(w.model()));
        double[] shorter = {
          Simulator.run(fewer, costs).span(),
          Simulator.run(fewer, without(Lane.EXPERTS, costs)).span(),
          Simulator.run(fewer, without(Lane.PIPELINE, costs)).span()
        };
        for (int i = 0; i < spans.length; i++) {
          spans[i] += (spans[i] - shorter[i]) / stages * (microBatches - most);
        }
      }
      boolean inside = !layout.expertOverlap() && layout.mesh().expert() > 1;
      return new Simulation(
          spans[0],
          spans[1],
          spans[2],
          costs.computeSeconds(),
          inside ? 0 : steadyHidden(timeline));
    }

    private static StepCosts without(Lane lane, ModelCosts costs) {
      return lane == Lane.EXPERTS
          ? costs.withoutExchanges()
          : step -> Lane.of(step.action()) == lane ? 0 : costs.seconds(step);
    }
  }

  /** Between each stage's first backward and its last forward. */
  static double steadyHidden(Timeline timeline) {
    List<Double> from = new ArrayList<>();
    List<Double> to = new ArrayList<>();
    for (Track track : timeline.tracks()) {
      double first = Double.POSITIVE_INFINITY;
      double last = 0;
      for (Event event : track.events()) {
        if (event.lane() == Lane.COMPUTE && event.name().startsWith("forward")) {
          last = Math.max(last, event.end());
        } else if (event.lane() == Lane.COMPUTE) {
          first = Math.min(first, event.start());
        }
      }
      from.add(first);
      to.add(last);
    }
    return timeline.hiddenShare(Lane.EXPERTS, from, to);
  }
}
