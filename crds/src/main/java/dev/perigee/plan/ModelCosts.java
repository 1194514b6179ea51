package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;

/**
 * What the steps of a schedule take, from the operations of a model and the speeds of a machine. A
 * product with weights costs as much for the gradient of its input as forward, and as much again
 * for that of its weights; the core of attention costs twice as much backward, all for inputs.
 */
final class ModelCosts implements StepCosts {
  private final Schedule schedule;
  private final double[][] forward; // [chunk][part] seconds
  private final double[][] input;
  private final double[][] weight;
  private final int[] exchanges; // dispatches and combines within a chunk's one part
  private final double exchangeSeconds;
  private final double sendSeconds;
  private final double[] copySeconds;

  /** Seconds of compute of one micro-batch through the whole model, before calibration. */
  private record Whole(double forward, double backward) {}

  ModelCosts(
      Workload w, Layout layout, Hardware hardware, Calibration calibration, Schedule schedule) {
    this.schedule = schedule;
    Speeds speeds = Speeds.of(hardware, calibration);
    int chunks = layout.stages().chunks();
    forward = new double[chunks][];
    input = new double[chunks][];
    weight = new double[chunks][];
    exchanges = new int[chunks];
    copySeconds = new double[chunks];
    ActivationCount activations = new ActivationCount(w, layout, hardware);
    for (int chunk = 0; chunk < chunks; chunk++) {
      compute(w, layout, speeds, chunk);
      copySeconds[chunk] = activations.kept(layout.stages(), chunk) / speeds.host();
    }
    if (calibration.forwardSeconds() != null) {
      Whole whole = whole();
      scale(forward, calibration.forwardSeconds() / whole.forward);
      scale(input, calibration.backwardSeconds() / whole.backward);
      scale(weight, calibration.backwardSeconds() / whole.backward);
    }
    Traffic.Exchange exchange = Traffic.Exchange.of(w, layout, hardware);
    exchangeSeconds = exchange.seconds(speeds);
    sendSeconds = Traffic.sendSeconds(w, layout, hardware, speeds);
  }

  /** Cuts a chunk at its dispatches and combines, see {@link Step}. */
  private void compute(Workload w, Layout layout, Speeds speeds, int chunk) {
    ModelConfig c = w.model();
    StageLayout stages = layout.stages();
    int parts = schedule.parts(chunk);
    forward[chunk] = new double[parts];
    input[chunk] = new double[parts];
    weight[chunk] = new double[parts];
    double tokens = (double) layout.microBatch() * w.sequenceLength();
    int part = 0;
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      int layer = stages.firstLayer(chunk) + i;
      FlopCount f = FlopCount.layer(c, layer, w.sequenceLength());
      double core = tokens * f.core() / speeds.attention();
      double again = recomputed(w) * tokens / speeds.dense();
      add(chunk, part, tokens * (f.projections() + f.router()) / speeds.dense());
      forward[chunk][part] += core;
      input[chunk][part] += 2 * core + again;
      int experts = parts > 1 && c.isMoeLayer(layer) ? part + 1 : part;
      double routed = tokens * f.routed() / speeds.expert();
      add(chunk, experts, routed);
      if (c.isMoeLayer(layer)
          && w.memory().recompute().contains(RunConfig.Memory.Recompute.expertDown)) {
        input[chunk][experts] += routed / 3;
      }
      // Shared experts compute with the routed ones, between dispatch and combine.
      add(chunk, experts, tokens * f.feedForward() / speeds.dense());
      part = parts > 1 && c.isMoeLayer(layer) ? part + 2 : part;
      exchanges[chunk] += parts == 1 && c.isMoeLayer(layer) ? 2 : 0;
    }
    if (chunk == stages.chunks() - 1) {
      add(chunk, parts - 1, tokens * FlopCount.head(c).head() / speeds.dense());
    }
  }

  /** A product with weights, in all three directions. */
  private void add(int chunk, int part, double seconds) {
    forward[chunk][part] += seconds;
    input[chunk][part] += seconds;
    weight[chunk][part] += seconds;
  }

  /** Operations for each token that backward does again; norms and SwiGLU have no products. */
  private static double recomputed(Workload w) {
    if (!w.memory().recompute().contains(RunConfig.Memory.Recompute.latentProjections)) {
      return 0;
    }
    ModelConfig c = w.model();
    double heads = c.numAttentionHeads();
    double query = c.qLoraRank() > 0 ? c.qLoraRank() * heads * c.qkHeadDim() : 0;
    return 2 * (query + c.kvLoraRank() * heads * (c.qkNopeHeadDim() + c.vHeadDim()));
  }

  private Whole whole() {
    return new Whole(sum(forward), sum(input) + sum(weight));
  }

  private static double sum(double[][] seconds) {
    double sum = 0;
    for (double[] chunk : seconds) {
      sum += sum(chunk);
    }
    return sum;
  }

  private static double sum(double[] seconds) {
    double sum = 0;
    for (double part : seconds) {
      sum += part;
    }
    return sum;
  }

  private static void scale(double[][] seconds, double factor) {
    for (double[] chunk : seconds) {
      for (int part = 0; part < chunk.length; part++) {
        chunk[part] *= factor;
      }
    }
  }

  /** Seconds of one micro-batch's compute steps over all chunks, with the exchanges inside them. */
  double computeSeconds() {
    Whole whole = whole();
    double inside = 0;
    for (int n : exchanges) {
      inside += 2 * n * exchangeSeconds;
    }
    return whole.forward + whole.backward + inside;
  }

  @Override
  public double seconds(Step step) {
    return seconds(step, exchangeSeconds);
  }

  /** The same when experts exchange in no time. */
  StepCosts withoutExchanges() {
    return step -> seconds(step, 0);
  }

  private double seconds(Step step, double exchange) {
    int chunk = step.chunk();
    double moved = exchanges[chunk] * exchange;
    return switch (step.action()) {
      case FORWARD -> forward[chunk][step.part()] + moved;
      case BACKWARD -> input[chunk][step.part()] + weight[chunk][step.part()] + moved;
      case BACKWARD_INPUT -> input[chunk][step.part()] + moved;
      case BACKWARD_WEIGHT -> weight[chunk][step.part()];
      case DISPATCH, COMBINE, COMBINE_BACKWARD, DISPATCH_BACKWARD -> exchange;
      case SEND_ACTIVATION, SEND_GRADIENT -> sendSeconds;
      case RECEIVE_ACTIVATION, RECEIVE_GRADIENT -> 0;
      case OFFLOAD, LOAD -> copySeconds[chunk];
    };
  }
}
