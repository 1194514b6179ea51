package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.List;

/** What the ranks run on. */
public sealed interface Hardware {

  /** Ranks that reach each other without the network. */
  int ranksPerNode();

  /** Bytes that one rank may use, or null when not known. */
  Long memoryBytes();

  /** The precision in which it computes and keeps numbers. */
  Precision precision();

  /**
   * Bytes of a number.
   *
   * @param weight of a weight in the forward pass
   * @param master of a second, precise copy that the optimizer updates; 0 when the weight is it
   * @param activation of an activation
   */
  record Precision(int weight, int master, int activation) {
    /** Bytes of a gradient, which is summed over micro-batches in float32. */
    public static final int GRADIENT = 4;

    /** float32 throughout: the weights are the masters. */
    public static final Precision FLOAT32 = new Precision(4, 0, 4);

    /** bf16 with float32 gradients and masters (Kimi K2 report, section 2.4). */
    public static final Precision BF16 = new Precision(2, 4, 2);

    /** That of a run on a GPU. */
    public static Precision of(RunConfig.Compute.Precision precision) {
      return precision == RunConfig.Compute.Precision.fp32 ? FLOAT32 : BF16;
    }

    /** Its name, for people. */
    String text() {
      return equals(BF16) ? "bf16" : "float32";
    }
  }

  /**
   * Threads on a CPU.
   *
   * @param memoryBytes a rank's share of its pod's limit, or null when there is no limit
   * @param ranksPerNode ranks of one pod
   */
  record Cpu(Long memoryBytes, int ranksPerNode) implements Hardware {
    @Override
    public Precision precision() {
      return Precision.FLOAT32;
    }
  }

  /**
   * One GPU for each rank.
   *
   * @param gpu which one
   * @param ranksPerNode GPUs of one node
   * @param precision in which they compute and keep numbers
   */
  record Gpus(Gpu gpu, int ranksPerNode, Precision precision) implements Hardware {
    @Override
    public Long memoryBytes() {
      return gpu.memoryBytes();
    }
  }

  /**
   * GPUs of which nothing else is known.
   *
   * @param ranksPerNode GPUs of one pod
   * @param precision in which they compute and keep numbers
   */
  record UnknownGpus(int ranksPerNode, Precision precision) implements Hardware {
    @Override
    public Long memoryBytes() {
      return null;
    }
  }

  /**
   * Whether attention keeps its probabilities for backward, in float32. The kernel that does
   * without multiplies bf16 on Hopper's tensor cores and knows one width of heads, Kimi K2's. Of
   * GPUs of an unknown kind it is hoped that they are Hopper's.
   */
  default boolean keepsProbabilities(ModelConfig model) {
    boolean known =
        model.qkNopeHeadDim() == 128 && model.qkRopeHeadDim() == 64 && model.vHeadDim() == 128;
    return !(usesTensorCoresOfHopper() && known);
  }

  /**
   * Whether the last product and the loss go together, so that the logits of all tokens are never
   * there at a time. These kernels are Hopper's too, and ask for widths divisible by 8 and a
   * vocabulary that is worth it.
   */
  default boolean fusesLoss(ModelConfig model) {
    return usesTensorCoresOfHopper()
        && model.hiddenSize() % 8 == 0
        && model.vocabSize() >= 4096
        && model.vocabSize() % 8 == 0;
  }

  private boolean usesTensorCoresOfHopper() {
    boolean hopper =
        switch (this) {
          case Cpu _ -> false;
          case Gpus(var gpu, var _, var _) -> gpu.computeCapability() == 90;
          case UnknownGpus _ -> true;
        };
    return hopper && precision().equals(Precision.BF16);
  }

  /** In a few words, for people. */
  default String text() {
    List<String> parts = new ArrayList<>();
    switch (this) {
      case Cpu(var memory, var _) ->
          parts.add("CPU, float32" + (memory == null ? "" : ", " + Figures.bytes(memory)));
      case Gpus(var gpu, var perNode, var precision) ->
          parts.add(
              "%s, %s, %s, %d a node, links %s/s within a node and %s/s between nodes"
                  .formatted(
                      gpu.name(),
                      precision.text(),
                      Figures.bytes(gpu.memoryBytes()),
                      perNode,
                      Figures.bytes(gpu.nodeLinkBytesPerSecond()),
                      Figures.bytes(gpu.networkBytesPerSecond())));
      case UnknownGpus(var _, var precision) ->
          parts.add(
              "GPUs of an unknown kind, %s (name one with --gpu: %s; until then attention and the loss are taken for Hopper's)"
                  .formatted(precision.text(), Gpu.names()));
    }
    return String.join(", ", parts);
  }
}
