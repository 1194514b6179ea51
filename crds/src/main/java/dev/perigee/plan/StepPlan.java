package dev.perigee.plan;

import dev.perigee.plan.Schedule.Shape;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * How a run's optimizer step is laid out: what follows from the configuration and the model's
 * shape, the same for the programs, the operator and whoever plans.
 *
 * @param layout layers of each chunk
 * @param shape what the schedule is made for
 * @param microBatchSequences sequences of a micro-batch
 */
public record StepPlan(StageLayout layout, Shape shape, int microBatchSequences) {
  /**
   * Tokens that a micro-batch has at most, if one sequence is not longer and nothing else is asked
   * for: few enough for the activations of a small model to stay in a core's own cache, which is
   * worth a quarter of a step.
   */
  private static final int MICRO_BATCH_TOKENS = 512;

  /** The same on a GPU, which wants work for all of its multiprocessors. */
  private static final int GPU_MICRO_BATCH_TOKENS = 8192;

  /** Numbers of the engine's largest tensor: an array's length. */
  private static final int LARGEST_TENSOR = Integer.MAX_VALUE - 8;

  /** Micro-batches for each stage that are aimed at: the bubble is then a third or less. */
  private static final int MICRO_BATCHES_PER_STAGE = 2;

  /**
   * The plan of a run.
   *
   * @throws IllegalArgumentException when it has {@link #problems}
   */
  public static StepPlan of(RunConfig run, ModelConfig model) {
    List<String> problems = problems(run, model);
    if (!problems.isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", problems));
    }
    RunConfig.Pipeline pipeline = run.pipeline();
    int chunks = run.mesh().pipeline() * pipeline.virtualStages();
    StageLayout layout =
        pipeline.layout() == null
            ? StageLayout.byCost(model, chunks, run.sequenceLength())
            : new StageLayout(pipeline.layout());
    return new StepPlan(layout, shape(run), microBatchSequences(run));
  }

  /** The schedule of every rank. */
  public Schedule schedule(ModelConfig model) {
    return Schedule.of(shape, layout.expertLayers(model));
  }

  private static Shape shape(RunConfig run) {
    long share = run.batchSequences() / run.mesh().data();
    return new Shape(
        run.mesh().pipeline(),
        run.pipeline().virtualStages(),
        Math.toIntExact(share / microBatchSequences(run)),
        run.pipeline().expertOverlap(),
        run.pipeline().splitWeightGradient(),
        run.memory().offload());
  }

  private static int microBatchSequences(RunConfig run) {
    RunConfig.Pipeline pipeline = run.pipeline();
    if (pipeline.microBatchSequences() != null) {
      return pipeline.microBatchSequences();
    }
    int stages = run.mesh().pipeline();
    int atLeast = stages == 1 && !pipeline.expertOverlap() ? 1 : MICRO_BATCHES_PER_STAGE * stages;
    return microBatchSequences(
        run.batchSequences() / run.mesh().data(),
        run.sequenceLength(),
        run.compute().backend() == RunConfig.Compute.Backend.cuda
            ? GPU_MICRO_BATCH_TOKENS
            : MICRO_BATCH_TOKENS,
        atLeast,
        pipeline.virtualStages() == 1 ? 1 : stages);
  }

  /**
   * Sequences of a micro-batch: the largest power of two that divides a rank's share, stays within
   * {@code most} tokens, and leaves {@code atLeast} micro-batches or more, a multiple of {@code
   * multipleOf} where there is one. A power of two gives meshes of 1, 2 and 4 ranks the same
   * micro-batches as long as the share is large enough.
   */
  static int microBatchSequences(
      long share, int sequenceLength, int most, int atLeast, int multipleOf) {
    int largest = 1;
    for (long size = 2; share % size == 0 && size * sequenceLength <= most; size *= 2) {
      if (share / size >= atLeast && share / size % multipleOf == 0) {
        largest = (int) size;
      }
    }
    return largest;
  }

  /**
   * What makes this run's step impossible, one line each; empty when nothing does. {@link
   * RunConfig#problems} is to be empty.
   *
   * @param model the model's shape, null when it is not known yet
   */
  public static List<String> problems(RunConfig run, ModelConfig model) {
    List<String> found = new ArrayList<>();
    Mesh mesh = run.mesh();
    RunConfig.Pipeline pipeline = run.pipeline();
    long share = run.batchSequences() / mesh.data();
    Integer asked = pipeline.microBatchSequences();
    if (asked != null && share % asked != 0) {
      found.add(
          "parallelism.microBatchSequences: %d does not divide the %d sequences of a rank"
                  .formatted(asked, share)
              + " (batchTokens / sequenceLength / data); use one of "
              + divisors(share));
    } else {
      List<String> tooMany = Shape.tooMany(share, microBatchSequences(run));
      found.addAll(tooMany.isEmpty() ? shape(run).problems() : tooMany);
    }
    if (model == null) {
      return found;
    }
    int chunks = mesh.pipeline() * pipeline.virtualStages();
    found.addAll(
        pipeline.layout() == null
            ? StageLayout.problemsOf(chunks, model.numHiddenLayers())
            : new StageLayout(pipeline.layout()).problems(chunks, model.numHiddenLayers()));
    found.addAll(tiedEmbeddings(model, mesh.pipeline()));
    if (asked == null || share % asked == 0) {
      found.addAll(tooManyProbabilities(run, model));
      found.addAll(tooManyLogits(run, model));
    }
    if (model.nRoutedExperts() == 0) {
      found.addAll(forExpertsOnly(run.memory()));
    }
    if (found.isEmpty() && run.memory().offload()) {
      found.addAll(nothingToOffload(run));
    }
    return found;
  }

  /** Attention that would need a larger tensor than there can be, whatever the memory. */
  private static List<String> tooManyProbabilities(RunConfig run, ModelConfig model) {
    boolean kept = hardware(run).keepsProbabilities(model);
    int length = run.sequenceLength();
    int sequences = microBatchSequences(run);
    double perHead = (double) length * length;
    double all = perHead * sequences * model.numAttentionHeads();
    if (!kept || all <= LARGEST_TENSOR) {
      return List.of();
    }
    double possible = LARGEST_TENSOR / (perHead * model.numAttentionHeads());
    return List.of(
        ("sequenceLength: %d in micro-batches of %d sequences gives attention %.0f probabilities of"
                + " %d heads, and a tensor holds at most %d numbers; use %s")
            .formatted(
                length,
                sequences,
                all,
                model.numAttentionHeads(),
                LARGEST_TENSOR,
                possible >= 1
                    ? "microBatchSequences of at most %d".formatted((long) possible)
                    : "a sequenceLength of at most %d"
                        .formatted(
                            (long)
                                Math.sqrt((double) LARGEST_TENSOR / model.numAttentionHeads()))));
  }

  /** The same of a loss. */
  private static List<String> tooManyLogits(RunConfig run, ModelConfig model) {
    int length = run.sequenceLength();
    int sequences = microBatchSequences(run);
    double all = (double) length * sequences * model.vocabSize();
    if (hardware(run).fusesLoss(model) || all <= LARGEST_TENSOR) {
      return List.of();
    }
    long possible = LARGEST_TENSOR / ((long) length * model.vocabSize());
    return List.of(
        ("sequenceLength: %d in micro-batches of %d sequences gives the loss %.0f logits of %d"
                + " words, and a tensor holds at most %d numbers; use %s")
            .formatted(
                length,
                sequences,
                all,
                model.vocabSize(),
                LARGEST_TENSOR,
                possible >= 1
                    ? "microBatchSequences of at most " + possible
                    : "a sequenceLength of at most " + LARGEST_TENSOR / model.vocabSize()));
  }

  /** As far as a run's configuration says. */
  private static Hardware hardware(RunConfig run) {
    return run.compute().backend() == RunConfig.Compute.Backend.cpu
        ? new Hardware.Cpu(null, 1)
        : new Hardware.UnknownGpus(1, Hardware.Precision.of(run.compute().precision()));
  }

  private static List<String> forExpertsOnly(RunConfig.Memory memory) {
    List<String> found = new ArrayList<>();
    if (memory.recompute().contains(RunConfig.Memory.Recompute.expertDown)) {
      found.add("memory.recompute: expertDown for a model without routed experts; leave it out");
    }
    if (memory.fp8().contains(RunConfig.Memory.Fp8.expertInput)) {
      found.add("memory.fp8: expertInput for a model without routed experts; leave it out");
    }
    return found;
  }

  /** Offloading that would never happen is refused, since somebody counts on it. */
  private static List<String> nothingToOffload(RunConfig run) {
    Shape shape = shape(run);
    Shape beginning =
        shape.withMicroBatches(Timing.simulated(shape.stages(), shape.microBatches()));
    Schedule schedule = Schedule.of(beginning, Collections.nCopies(shape.chunks(), 0));
    boolean offloads =
        schedule.steps().stream()
            .flatMap(List::stream)
            .anyMatch(step -> step.action() == Step.Action.OFFLOAD);
    return offloads
        ? List.of()
        : List.of(
            ("memory.offload: no activation waits long enough to go to the host with pipeline %d,"
                    + " virtualStages %d and %d micro-batches; leave it out, or use more stages,"
                    + " virtualStages or expertOverlap")
                .formatted(shape.stages(), shape.virtualStages(), shape.microBatches()));
  }

  /** Why embedding and head cannot share weights over so many stages; empty when they can. */
  public static List<String> tiedEmbeddings(ModelConfig model, int stages) {
    return model.tieWordEmbeddings() && stages > 1
        ? List.of(
            "parallelism.pipeline: "
                + stages
                + " stages for a model with tieWordEmbeddings, whose embedding and head would be on"
                + " different stages; use 1, or a model whose head has its own weights")
        : List.of();
  }

  /** For people: {@code 2 stages of 1 chunks, 8 micro-batches of 4 sequences: …}. */
  @Override
  public String toString() {
    return "%d stages of %d chunks, %d micro-batches of %d sequences%s%s: %s"
        .formatted(
            shape.stages(),
            shape.virtualStages(),
            shape.microBatches(),
            microBatchSequences,
            shape.expertOverlap() ? ", experts overlap" : "",
            shape.splitWeightGradient() ? ", weight gradients apart" : "",
            layout);
  }

  private static List<Long> divisors(long n) {
    List<Long> found = new ArrayList<>();
    for (long d = 1; d <= n && found.size() < 16; d++) {
      if (n % d == 0) {
        found.add(d);
      }
    }
    return found;
  }
}
