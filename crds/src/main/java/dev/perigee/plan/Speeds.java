package dev.perigee.plan;

/**
 * How fast ranks compute and reach each other: what {@link Hardware} has at most, times what {@link
 * Calibration} says is reached of it.
 *
 * @param dense operations a second in dense products
 * @param expert operations a second in routed experts
 * @param attention operations a second in the core of attention
 * @param nodeLink bytes a second between ranks of a node, each way
 * @param network bytes a second between nodes, each way
 * @param host bytes a second to host memory, each way
 */
record Speeds(
    double dense, double expert, double attention, double nodeLink, double network, double host) {

  /** Nothing is known: one operation a second, and links that take no time. Shares still hold. */
  static final Speeds UNKNOWN =
      new Speeds(
          1, 1, 1, Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY);

  static Speeds of(Hardware hardware, Calibration measured) {
    Calibration c = measured.withDefaults();
    return switch (hardware) {
      case Hardware.Gpus(var gpu, var _, var precision)
          when precision.equals(Hardware.Precision.BF16) ->
          onLinks(
              gpu,
              c,
              c.denseShare() * gpu.bf16Flops(),
              c.expertShare() * gpu.bf16Flops(),
              c.attentionShare() * gpu.bf16Flops());
      // The vendor's figures are for bf16: in float32 only a measured one will do.
      case Hardware.Gpus(var gpu, var _, var _) when measured.isOfCompute() -> {
        double rate = or(c.rankFlops(), UNKNOWN.dense);
        yield onLinks(gpu, c, rate, rate, rate);
      }
      case Hardware.Cpu _, Hardware.Gpus _, Hardware.UnknownGpus _ -> {
        double rate = or(c.rankFlops(), UNKNOWN.dense);
        yield new Speeds(
            rate,
            rate,
            rate,
            or(c.nodeLinkBytesPerSecond(), UNKNOWN.nodeLink),
            or(c.networkBytesPerSecond(), UNKNOWN.network),
            UNKNOWN.host);
      }
    };
  }

  private static Speeds onLinks(
      Gpu gpu, Calibration c, double dense, double expert, double attention) {
    return new Speeds(
        dense,
        expert,
        attention,
        or(c.nodeLinkBytesPerSecond(), c.linkShare() * gpu.nodeLinkBytesPerSecond()),
        or(c.networkBytesPerSecond(), c.linkShare() * gpu.networkBytesPerSecond()),
        c.linkShare() * gpu.hostBytesPerSecond());
  }

  private static double or(Double measured, double otherwise) {
    return measured == null ? otherwise : measured;
  }
}
