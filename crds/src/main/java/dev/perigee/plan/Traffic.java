package dev.perigee.plan;

import dev.perigee.run.Mesh;

/**
 * What one rank of the busiest stage sends in an optimizer step, in bytes, and what of it shows.
 *
 * @param exchange one exchange of expert rows
 * @param exchanges of them in a step: dispatch, combine and both backward, for each layer of
 *     experts and each micro-batch
 * @param pipelineBytes activations and their gradients for the neighbouring stages
 * @param gradientBytes float32 gradients for the ranks that own them
 * @param weightBytes new weights of what the rank owns, for the ranks that share them
 */
public record Traffic(
    Exchange exchange,
    long exchanges,
    double pipelineBytes,
    double gradientBytes,
    double weightBytes) {

  /**
   * One exchange, when the router spreads tokens evenly. On CPUs it is the engine's, which sends a
   * row for each chosen expert. On GPUs a row goes once to each node that has some of its experts,
   * and from there over the node's own links once to each GPU that has some, as DeepEP's kernels of
   * high throughput do it; the links work at the same time.
   *
   * @param nodeBytes for ranks of the same node
   * @param networkBytes for ranks of other nodes
   */
  public record Exchange(double nodeBytes, double networkBytes) {
    static Exchange of(Workload w, Layout layout, Hardware hardware) {
      int ranks = layout.mesh().expert();
      if (ranks == 1 || w.model().nRoutedExperts() == 0) {
        return new Exchange(0, 0);
      }
      double row = (double) w.model().hiddenSize() * hardware.precision().activation();
      double tokens = (double) layout.microBatch() * w.sequenceLength();
      int chosen = w.model().numExpertsPerTok();
      int near = Math.min(ranks, hardware.ranksPerNode());
      if (hardware instanceof Hardware.Cpu) {
        double bytes = row * tokens * chosen;
        return new Exchange(bytes * (near - 1) / ranks, bytes * (ranks - near) / ranks);
      }
      int experts = w.model().nRoutedExperts();
      double nodes = (double) ranks / near;
      double reachedNodes = (nodes - 1) * someOf(experts, nodes, chosen);
      double reachedRanks = ranks * someOf(experts, ranks, chosen);
      return new Exchange(
          row * tokens * reachedRanks * (near - 1) / near, row * tokens * reachedNodes);
    }

    /** The chance that some of a token's experts are among one nth of them. */
    private static double someOf(int experts, double n, int chosen) {
      double none = 1;
      for (int i = 0; i < chosen; i++) {
        none *= Math.max(0, experts - experts / n - i) / (experts - i);
      }
      return 1 - none;
    }

    /** All that leaves the rank. */
    public double bytes() {
      return nodeBytes + networkBytes;
    }

    /** Both links work at the same time. */
    double seconds(Speeds speeds) {
      return Math.max(nodeBytes / speeds.nodeLink(), networkBytes / speeds.network());
    }
  }

  /** Of the stage with most of it. */
  static Traffic of(Workload w, Layout layout, Hardware hardware) {
    Mesh mesh = layout.mesh();
    StageLayout stages = layout.stages();
    int microBatches = layout.microBatches(w);
    Hardware.Precision precision = hardware.precision();
    Traffic busiest = null;
    for (int stage = 0; stage < mesh.pipeline(); stage++) {
      long expertLayers = 0;
      int crossings = 0;
      for (int chunk = stage; chunk < stages.chunks(); chunk += mesh.pipeline()) {
        expertLayers += stages.expertLayers(w.model()).get(chunk);
        if (mesh.pipeline() > 1) {
          crossings += (chunk > 0 ? 1 : 0) + (chunk < stages.chunks() - 1 ? 1 : 0);
        }
      }
      StageWeights weights = StageWeights.of(w, layout, precision, stage);
      double apart = 1 - 1.0 / mesh.data();
      double expertsApart = 1 - 1.0 / mesh.replicas();
      double shared = weights.dense() * apart + weights.experts() * expertsApart;
      Traffic traffic =
          new Traffic(
              Exchange.of(w, layout, hardware),
              mesh.expert() == 1 ? 0 : 4 * expertLayers * microBatches,
              (double) crossings * microBatches * boundaryBytes(w, layout, hardware),
              Hardware.Precision.GRADIENT * shared,
              precision.weight() * shared);
      if (busiest == null || traffic.bytes() > busiest.bytes()) {
        busiest = traffic;
      }
    }
    return busiest;
  }

  /** All of it. */
  public double bytes() {
    return exchange.bytes() * exchanges + pipelineBytes + gradientBytes + weightBytes;
  }

  /** One micro-batch's activations, or their gradient, between two stages. */
  private static double boundaryBytes(Workload w, Layout layout, Hardware hardware) {
    return (double) layout.microBatch()
        * w.sequenceLength()
        * w.model().hiddenSize()
        * hardware.precision().activation();
  }

  static double sendSeconds(Workload w, Layout layout, Hardware hardware, Speeds speeds) {
    if (layout.mesh().pipeline() == 1) {
      return 0;
    }
    // The same rank of the next stage is as many ranks away as a stage has.
    boolean near = layout.mesh().data() < hardware.ranksPerNode();
    return boundaryBytes(w, layout, hardware) / (near ? speeds.nodeLink() : speeds.network());
  }

  /** Seconds of the gradients' and the weights' exchange, when nothing runs beside it. */
  double updateSeconds(Layout layout, Hardware hardware, Speeds speeds) {
    double link =
        layout.mesh().data() <= hardware.ranksPerNode() ? speeds.nodeLink() : speeds.network();
    return (gradientBytes + weightBytes) / link;
  }
}
