package dev.perigee.engine.bench;

import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import java.util.List;

/**
 * What {@link GpusBench} measures.
 *
 * @param gpus that ranks are spread over in turns; 0 for none: ranks compute on the CPU
 * @param mesh of the run in parallel; its {@code ranksPerPod} means nothing here
 * @param smaller that goes on from its checkpoint
 * @param model that is trained
 * @param name of the model, for people
 * @param precision of products on a GPU
 * @param sequenceLength tokens
 * @param batchSequences of an optimizer step over all ranks
 * @param steps before the checkpoint, and as many after it
 * @param sizes of tensors in collectives, in elements
 * @param repeats of each collective that is timed
 */
record GangShape(
    int gpus,
    Mesh mesh,
    Mesh smaller,
    ModelConfig model,
    String name,
    RunConfig.Compute.Precision precision,
    int sequenceLength,
    int batchSequences,
    int steps,
    List<Long> sizes,
    int repeats) {
  private static final Mesh TWO = new Mesh(1, 2, 2, 2);
  private static final Mesh FOUR = new Mesh(2, 2, 2, 4);
  private static final Mesh EIGHT = new Mesh(2, 4, 4, 8);

  /** A rank for each of 2, 4 or 8 GPUs, up to 1 GiB and the whole of Moonlight's layers. */
  private static GangShape several(int gpus, Mesh mesh, Mesh smaller) {
    return new GangShape(
        gpus,
        mesh,
        smaller,
        slice(64, 163_840),
        "4 layers of Moonlight's geometry",
        RunConfig.Compute.Precision.bf16,
        2048,
        32,
        8,
        List.of(1L, 1L << 10, 1L << 20, 1L << 24, 1L << 28),
        10);
  }

  /**
   * What a machine with so many GPUs can show.
   *
   * @param gpus 0, 1, 2, 4 or 8; with one or none four ranks share what there is, and model and
   *     sizes are smaller
   * @throws IllegalArgumentException for another number
   */
  static GangShape of(int gpus) {
    return switch (gpus) {
      case 0 ->
          new GangShape(
              0,
              FOUR,
              TWO,
              new ModelConfig(
                  64, 64, 96, 32, 4, 1, 4, 0, 24, 16, 8, 16, 8, 2, 1, 1, 1, 1.4, true, 10_000, null,
                  256, 1e-6, 0.02, false),
              "4 layers, 64 wide, 8 experts",
              RunConfig.Compute.Precision.fp32,
              32,
              16,
              4,
              List.of(1L, 1L << 10, 1L << 16),
              5);
      case 1 ->
          new GangShape(
              1,
              FOUR,
              TWO,
              slice(16, 16_384),
              "4 layers of Moonlight's geometry, with 16 of its 64 experts and a tenth of its"
                  + " vocabulary",
              RunConfig.Compute.Precision.bf16,
              512,
              16,
              3,
              List.of(1L, 1L << 10, 1L << 20, 1L << 24),
              3);
      case 2 -> several(2, TWO, Mesh.SINGLE);
      case 4 -> several(4, FOUR, TWO);
      case 8 -> several(8, EIGHT, FOUR);
      default ->
          throw new IllegalArgumentException(
              "--gpus: expected 0 (the CPU), 1, 2, 4 or 8, not " + gpus);
    };
  }

  /** As many ranks in two stages, with all experts on each: only stages send each other rows. */
  Mesh stages() {
    return new Mesh(2, mesh.world() / 2, 1, mesh.world());
  }

  private static ModelConfig slice(int experts, int vocabulary) {
    ModelConfig m = ModelPresets.find("moonlight-16b-a3b").orElseThrow();
    return new ModelConfig(
        vocabulary,
        m.hiddenSize(),
        m.intermediateSize(),
        m.moeIntermediateSize(),
        4,
        m.firstKDenseReplace(),
        m.numAttentionHeads(),
        m.qLoraRank(),
        m.kvLoraRank(),
        m.qkNopeHeadDim(),
        m.qkRopeHeadDim(),
        m.vHeadDim(),
        experts,
        m.numExpertsPerTok(),
        m.nSharedExperts(),
        m.nGroup(),
        m.topkGroup(),
        m.routedScalingFactor(),
        m.normTopkProb(),
        m.ropeTheta(),
        m.ropeScaling(),
        m.maxPositionEmbeddings(),
        m.rmsNormEps(),
        m.initializerRange(),
        m.tieWordEmbeddings());
  }

  /** The run of a mesh; interleaved where there are stages. */
  RunConfig run(Mesh on, boolean overlap) {
    return new RunConfig(
            "bench/gpus",
            1,
            new RunConfig.Model(model, null),
            List.of(new RunConfig.DataSource("patterns", 1, "arithmetic", null)),
            new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
            sequenceLength,
            (long) batchSequences * sequenceLength,
            on,
            RunConfig.Optimizer.DEFAULT,
            new RunConfig.Schedule(1e-3, 0, 0, 1e-3),
            2L * steps,
            new RunConfig.Checkpoint("unused", 1, 1),
            null,
            RunConfig.Network.DEFAULT)
        .with(
            new RunConfig.Pipeline(on.pipeline() > 1 ? 2 : 1, 1, overlap, on.pipeline() > 1, null));
  }
}
