package dev.perigee.run;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonInclude;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * What a training program is asked to do (file {@code run.json}, mounted read-only; the same file
 * starts a program by hand). Validated on both sides by {@link #problems()}. An unknown field is an
 * error, so that nothing is accepted and ignored.
 *
 * <p>Paths are relative to the program's root, which is {@code /perigee} in a container and {@code
 * $PERIGEE_ROOT} elsewhere; absolute paths are taken as they are.
 *
 * @param job name of the job, {@code namespace/name}
 * @param seed seeds the initial weights and the order of the data
 * @param model the model's shape and where its first weights come from
 * @param data sources to draw training text from
 * @param tokenizer how text becomes ids
 * @param sequenceLength tokens of one training sequence
 * @param batchTokens tokens of one optimizer step over all ranks; a multiple of {@code
 *     sequenceLength × mesh.data}
 * @param mesh the layout of ranks
 * @param optimizer how weights are updated
 * @param schedule learning rate over the steps
 * @param steps optimizer steps of the whole job
 * @param checkpoint where and when to save
 * @param evaluation how to score on held-out data, null for not at all
 * @param network ports and patience
 * @param pipeline how an optimizer step goes through the stages
 * @param memory what is kept of activations, where and how; null for {@link Memory#DEFAULT}
 * @param compute what ranks compute with; null for {@link Compute#DEFAULT}
 */
@JsonInclude(JsonInclude.Include.NON_NULL)
public record RunConfig(
    String job,
    long seed,
    Model model,
    List<DataSource> data,
    Tokenizer tokenizer,
    int sequenceLength,
    long batchTokens,
    Mesh mesh,
    Optimizer optimizer,
    Schedule schedule,
    long steps,
    Checkpoint checkpoint,
    Evaluation evaluation,
    Network network,
    Pipeline pipeline,
    Memory memory,
    Compute compute) {

  /**
   * The model.
   *
   * @param config its shape; null when {@code from} names a folder whose {@code config.json} says
   * @param from a checkpoint folder in Hugging Face layout to take the first weights from, or null
   *     for random weights
   * @param digest SHA-256 of the manifest that {@code from} must have, null for any
   */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Model(ModelConfig config, String from, String digest) {
    /** A model whose first weights, if from a folder, may be whatever lies there. */
    public Model(ModelConfig config, String from) {
      this(config, from, null);
    }
  }

  /**
   * Where text comes from. Exactly one of {@code builtin} and {@code path} is given.
   *
   * @param name appears in messages and metrics
   * @param weight share of training sequences drawn from here, relative to the others
   * @param builtin name of a generator that the engine has, for example {@code arithmetic}
   * @param path a file or folder of {@code .jsonl} (one object a line with a {@code text} string)
   *     and {@code .txt} files
   */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record DataSource(String name, double weight, String builtin, String path) {}

  /**
   * How text becomes ids.
   *
   * @param kind bytes (ids 0 to 255, 256 begins and 257 ends a document) or tiktoken
   * @param path the ranks file of a tiktoken tokenizer, null for bytes
   */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Tokenizer(Tokenizer.Kind kind, String path) {
    /** The kinds there are. */
    public enum Kind {
      bytes,
      tiktoken
    }
  }

  /**
   * What a rank keeps of its activations between forward and backward, and how (Kimi K2 report,
   * section 2.4).
   *
   * @param recompute what is computed again in backward instead of kept
   * @param fp8 what is kept in eight bits
   * @param offload whether activations that wait long enough in a pipeline go to host memory
   * @param bucketMebibytes gradients or weights that ranks exchange in one go, in MiB
   */
  public record Memory(
      Set<Recompute> recompute, Set<Fp8> fp8, boolean offload, int bucketMebibytes) {
    /** Everything is kept where and as it is. */
    public static final Memory DEFAULT = new Memory(Set.of(), Set.of(), false, 32);

    /** Bytes of a bucket. */
    @JsonIgnore
    public long bucketBytes() {
      return (long) bucketMebibytes << 20;
    }

    /** What can be computed again. */
    public enum Recompute {
      /** Results of norms, from their input and scale. */
      norms,
      /** The gated product, from the gate and up projections. */
      swiGlu,
      /** Queries, keys and values of attention, from their latents. */
      latentProjections,
      /** The routed experts' results, from the gated product. */
      expertDown
    }

    /** What can be kept in eight bits. */
    public enum Fp8 {
      /** Rows at their routed experts: the input of the up projection. */
      expertInput,
      /** Gate and up projections: the input of SwiGLU. */
      swiGluInput
    }

    public Memory {
      recompute = sorted(recompute, Recompute.class);
      fp8 = sorted(fp8, Fp8.class);
    }

    /** In the order of declaration, so that equal configurations have equal digests. */
    private static <E extends Enum<E>> Set<E> sorted(Set<E> some, Class<E> type) {
      EnumSet<E> set = EnumSet.noneOf(type);
      if (some != null) {
        set.addAll(some);
      }
      return Collections.unmodifiableSet(set);
    }
  }

  /**
   * How weights are updated. The constants of MuonClip are those of the Kimi K2 report (algorithm
   * 1) and of "Muon is scalable for LLM training" (section 2.2).
   *
   * @param kind MuonClip: Muon for matrices, AdamW for the rest, QK-Clip after the update; AdamW:
   *     AdamW for everything, without QK-Clip
   * @param weightDecay decoupled decay λ, applied to every parameter
   * @param gradientClip largest global gradient norm; 0 for no clipping
   * @param muon constants of Muon
   * @param adamW constants of AdamW
   * @param qkClip constants of QK-Clip
   * @param routerBiasRate u of the balance update {@code b += u · sign(mean load − load)}
   */
  public record Optimizer(
      Optimizer.Kind kind,
      double weightDecay,
      double gradientClip,
      Muon muon,
      AdamW adamW,
      QkClip qkClip,
      double routerBiasRate) {
    /** The optimizers there are. */
    public enum Kind {
      MuonClip,
      AdamW
    }

    /**
     * Constants of Muon.
     *
     * @param momentum μ of the momentum buffer
     * @param nesterov whether the update looks one momentum step ahead
     * @param newtonSchulzSteps iterations of the orthogonalisation
     * @param newtonSchulzCoefficients (a, b, c) of its quintic
     * @param updateRms target root mean square of an update: the factor before √max(rows, columns)
     */
    public record Muon(
        double momentum,
        boolean nesterov,
        int newtonSchulzSteps,
        List<Double> newtonSchulzCoefficients,
        double updateRms) {
      /** The published constants. */
      public static final Muon DEFAULT =
          new Muon(0.95, true, 5, List.of(3.4445, -4.7750, 2.0315), 0.2);
    }

    /** Constants of AdamW. */
    public record AdamW(double beta1, double beta2, double epsilon) {
      /** The published constants. */
      public static final AdamW DEFAULT = new AdamW(0.9, 0.95, 1e-8);
    }

    /**
     * Constants of QK-Clip.
     *
     * @param threshold τ: a head whose largest logit exceeds it is scaled back to it
     * @param balance α: the query's no-position part takes γ^α, the key's γ^(1−α)
     */
    public record QkClip(double threshold, double balance) {
      /** The published constants. */
      public static final QkClip DEFAULT = new QkClip(100, 0.5);
    }
  }

  /**
   * Learning rate by step: linear warm-up, then constant, then a cosine over the last {@code
   * decaySteps} steps down to {@code finalLearningRate} (Kimi K2 report, section 2.5).
   *
   * @param peakLearningRate of the constant part
   * @param warmupSteps steps of the linear rise from 0
   * @param decaySteps steps of the cosine at the end; 0 for none
   * @param finalLearningRate at the last step
   */
  public record Schedule(
      double peakLearningRate, long warmupSteps, long decaySteps, double finalLearningRate) {}

  /**
   * Where and when to save.
   *
   * @param directory folder that gets one {@code step-NNNNNNNN} folder for each checkpoint
   * @param intervalSteps steps between checkpoints; one is always written after the last step
   * @param keep how many of the newest stay
   */
  public record Checkpoint(String directory, long intervalSteps, int keep) {}

  /**
   * How to score on held-out data. It is never trained on.
   *
   * @param intervalSteps steps between evaluations; 0 for only after the last step
   * @param problems problems asked of a {@code builtin:} source
   * @param heldOutFraction share of the documents of a {@code path} source that is held out
   */
  public record Evaluation(long intervalSteps, int problems, double heldOutFraction) {}

  /**
   * Ports and patience.
   *
   * @param httpPort of {@code /status}, {@code /metrics}, {@code /healthz} and {@code /readyz}
   * @param peerPort where the pods of a gang meet
   * @param rendezvousSeconds how long to wait for peers to come
   * @param peerSeconds how long a peer may be silent before it counts as lost
   */
  public record Network(int httpPort, int peerPort, int rendezvousSeconds, int peerSeconds) {
    /** What the operator uses when nothing else is asked for. */
    public static final Network DEFAULT = new Network(8080, 29500, 600, 6);
  }

  /**
   * How an optimizer step goes through the pipeline stages.
   *
   * @param virtualStages runs of layers on each stage; with more than one, 1F1B is interleaved
   * @param microBatchSequences sequences of a micro-batch, null for a choice by their number
   * @param expertOverlap whether the exchange of rows between experts runs under the compute of
   *     another micro-batch
   * @param splitWeightGradient whether weight gradients are computed apart and later, under the
   *     traffic between stages
   * @param layout layers of each run of layers, in the order of the model; null for a choice by
   *     cost
   */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Pipeline(
      int virtualStages,
      Integer microBatchSequences,
      boolean expertOverlap,
      boolean splitWeightGradient,
      List<Integer> layout) {
    /** One micro-batch after the other, through all layers of a stage. */
    public static final Pipeline DEFAULT = new Pipeline(1, null, false, false, null);

    public Pipeline {
      layout = layout == null ? null : List.copyOf(layout);
    }
  }

  /**
   * What ranks compute with.
   *
   * @param backend the processor, or a GPU for each rank
   * @param precision what matrix products multiply; sums, master weights and everything else are
   *     float32
   */
  public record Compute(Backend backend, Precision precision) {
    /** On the CPU, in float32. */
    public static final Compute DEFAULT = new Compute(Backend.cpu, Precision.fp32);

    /** The backends there are. */
    public enum Backend {
      /** The CPU, one thread a rank. */
      cpu,
      /** NVIDIA GPUs. */
      cuda
    }

    /** What products multiply. */
    public enum Precision {
      /** float32 numbers. */
      fp32,
      /** float32 numbers rounded to bf16. */
      bf16
    }
  }

  public RunConfig {
    data = data == null ? List.of() : List.copyOf(data);
    pipeline = pipeline == null ? Pipeline.DEFAULT : pipeline;
    memory = memory == null ? Memory.DEFAULT : memory;
    compute = compute == null ? Compute.DEFAULT : compute;
  }

  /** A run with {@link Pipeline#DEFAULT}, {@link Memory#DEFAULT} and {@link Compute#DEFAULT}. */
  public RunConfig(
      String job,
      long seed,
      Model model,
      List<DataSource> data,
      Tokenizer tokenizer,
      int sequenceLength,
      long batchTokens,
      Mesh mesh,
      Optimizer optimizer,
      Schedule schedule,
      long steps,
      Checkpoint checkpoint,
      Evaluation evaluation,
      Network network) {
    this(
        job,
        seed,
        model,
        data,
        tokenizer,
        sequenceLength,
        batchTokens,
        mesh,
        optimizer,
        schedule,
        steps,
        checkpoint,
        evaluation,
        network,
        Pipeline.DEFAULT,
        Memory.DEFAULT,
        Compute.DEFAULT);
  }

  /** The same run with another way through the stages. */
  public RunConfig with(Pipeline other) {
    return with(other, memory, compute);
  }

  /** The same run with another use of memory. */
  public RunConfig with(Memory other) {
    return with(pipeline, other, compute);
  }

  /** The same run on something else. */
  public RunConfig with(Compute other) {
    return with(pipeline, memory, other);
  }

  private RunConfig with(Pipeline pipeline, Memory memory, Compute compute) {
    return new RunConfig(
        job,
        seed,
        model,
        data,
        tokenizer,
        sequenceLength,
        batchTokens,
        mesh,
        optimizer,
        schedule,
        steps,
        checkpoint,
        evaluation,
        network,
        pipeline,
        memory,
        compute);
  }

  /** Sequences of one step over all ranks. */
  @JsonIgnore
  public long batchSequences() {
    return batchTokens / sequenceLength;
  }

  /** What is wrong with this configuration, one line each, naming the field; empty when nothing. */
  @JsonIgnore
  public List<String> problems() {
    List<String> found = new ArrayList<>();
    require(found, job != null && !job.isBlank(), "job: missing; expected namespace/name");
    if (model == null || (model.config() == null && model.from() == null)) {
      found.add("model: missing; expected a config, a folder in from, or both");
    } else if (model.config() != null) {
      found.addAll(model.config().problems());
    }
    require(
        found,
        model == null || model.digest() == null || model.from() != null,
        "model.digest: expected only with a folder in from");
    checkData(found);
    if (tokenizer == null || tokenizer.kind() == null) {
      found.add("tokenizer.kind: missing; expected bytes or tiktoken");
    } else {
      require(
          found,
          (tokenizer.kind() == Tokenizer.Kind.tiktoken) == (tokenizer.path() != null),
          "tokenizer.path: expected for tiktoken, and only for it");
    }
    require(found, sequenceLength >= 2, "sequenceLength: " + sequenceLength + " is less than 2");
    require(found, steps >= 1, "steps: " + steps + " is less than 1");
    if (mesh == null) {
      found.add("mesh: missing");
    } else {
      int experts = model == null || model.config() == null ? -1 : model.config().nRoutedExperts();
      List<String> meshProblems = mesh.problems(experts);
      found.addAll(meshProblems);
      if (meshProblems.isEmpty() && sequenceLength >= 2) {
        long unit = (long) sequenceLength * mesh.data();
        require(
            found,
            batchTokens >= unit && batchTokens % unit == 0,
            "batchTokens: "
                + batchTokens
                + " is not a multiple of sequenceLength × data = "
                + unit
                + "; the nearest that works is "
                + Math.max(1, Math.round((double) batchTokens / unit)) * unit);
      }
    }
    checkPipeline(found);
    checkMemory(found);
    checkCompute(found);
    checkOptimizer(found);
    checkSchedule(found);
    if (checkpoint == null) {
      found.add("checkpoint: missing");
    } else {
      require(
          found,
          checkpoint.directory() != null && !checkpoint.directory().isBlank(),
          "checkpoint.directory: missing");
      require(
          found,
          checkpoint.intervalSteps() >= 1,
          "checkpoint.intervalSteps: " + checkpoint.intervalSteps() + " is less than 1");
      require(
          found,
          checkpoint.keep() >= 1,
          "checkpoint.keep: " + checkpoint.keep() + " is less than 1");
    }
    if (evaluation != null) {
      require(found, evaluation.intervalSteps() >= 0, "evaluation.intervalSteps: is negative");
      require(found, evaluation.problems() >= 0, "evaluation.problems: is negative");
      require(
          found,
          evaluation.heldOutFraction() >= 0 && evaluation.heldOutFraction() < 1,
          "evaluation.heldOutFraction: "
              + evaluation.heldOutFraction()
              + " is not in [0, 1); 0.1 holds out one document in ten");
    }
    if (network == null) {
      found.add("network: missing");
    } else {
      port(found, "network.httpPort", network.httpPort());
      port(found, "network.peerPort", network.peerPort());
      require(
          found,
          network.httpPort() != network.peerPort(),
          "network.peerPort: " + network.peerPort() + " is the httpPort too; use another");
      require(found, network.rendezvousSeconds() >= 1, "network.rendezvousSeconds: less than 1");
      require(found, network.peerSeconds() >= 1, "network.peerSeconds: less than 1");
    }
    return found;
  }

  private void checkPipeline(List<String> found) {
    require(
        found,
        pipeline.virtualStages() >= 1,
        "parallelism.virtualStages: " + pipeline.virtualStages() + " is less than 1");
    require(
        found,
        pipeline.microBatchSequences() == null || pipeline.microBatchSequences() >= 1,
        "parallelism.microBatchSequences: " + pipeline.microBatchSequences() + " is less than 1");
    require(
        found,
        pipeline.layout() == null || !pipeline.layout().isEmpty(),
        "parallelism.layout: empty; expected the layers of each of the pipeline × virtualStages"
            + " chunks");
  }

  private void checkCompute(List<String> found) {
    if (compute.backend() == null || compute.precision() == null) {
      found.add("compute: expected a backend (cpu or cuda) and a precision (fp32 or bf16)");
    } else {
      require(
          found,
          compute.backend() == Compute.Backend.cuda
              || compute.precision() == Compute.Precision.fp32,
          "compute.precision: bf16 needs backend cuda; the CPU computes in fp32");
    }
  }

  private void checkData(List<String> found) {
    require(found, !data.isEmpty(), "data: empty; expected at least one source");
    Set<String> names = new HashSet<>();
    for (int i = 0; i < data.size(); i++) {
      DataSource source = data.get(i);
      String at = "data[" + i + "]";
      require(found, source.name() != null && !source.name().isBlank(), at + ".name: missing");
      require(found, names.add(source.name()), at + ".name: " + source.name() + " is used twice");
      require(
          found,
          source.weight() > 0 && Double.isFinite(source.weight()),
          at + ".weight: " + source.weight() + " is not a positive number");
      require(
          found,
          (source.builtin() == null) != (source.path() == null),
          at + ": expected exactly one of builtin and path");
    }
  }

  private void checkMemory(List<String> found) {
    require(
        found,
        memory.bucketMebibytes() >= 1 && memory.bucketMebibytes() <= 4096,
        "memory.bucketMebibytes: " + memory.bucketMebibytes() + " is not in 1 to 4096");
    require(
        found,
        !memory.offload() || mesh == null || mesh.pipeline() > 1,
        "memory.offload: no activation waits without a pipeline; leave it out, or use more stages");
  }

  private void checkOptimizer(List<String> found) {
    if (optimizer == null
        || optimizer.kind() == null
        || optimizer.muon() == null
        || optimizer.adamW() == null
        || optimizer.qkClip() == null) {
      found.add("optimizer: missing, or without kind, muon, adamW or qkClip");
      return;
    }
    notNegative(found, "optimizer.weightDecay", optimizer.weightDecay());
    notNegative(found, "optimizer.gradientClip", optimizer.gradientClip());
    notNegative(found, "optimizer.routerBiasRate", optimizer.routerBiasRate());
    unit(found, "optimizer.muon.momentum", optimizer.muon().momentum());
    require(
        found,
        optimizer.muon().newtonSchulzSteps() >= 1 && optimizer.muon().newtonSchulzSteps() <= 100,
        "optimizer.muon.newtonSchulzSteps: "
            + optimizer.muon().newtonSchulzSteps()
            + " is not in 1 to 100");
    List<Double> abc = optimizer.muon().newtonSchulzCoefficients();
    require(
        found,
        abc != null && abc.size() == 3,
        "optimizer.muon.newtonSchulzCoefficients: expected three numbers (a, b, c)");
    positive(found, "optimizer.muon.updateRms", optimizer.muon().updateRms());
    unit(found, "optimizer.adamW.beta1", optimizer.adamW().beta1());
    unit(found, "optimizer.adamW.beta2", optimizer.adamW().beta2());
    positive(found, "optimizer.adamW.epsilon", optimizer.adamW().epsilon());
    positive(found, "optimizer.qkClip.threshold", optimizer.qkClip().threshold());
    require(
        found,
        optimizer.qkClip().balance() >= 0 && optimizer.qkClip().balance() <= 1,
        "optimizer.qkClip.balance: " + optimizer.qkClip().balance() + " is not in [0, 1]");
  }

  private void checkSchedule(List<String> found) {
    if (schedule == null) {
      found.add("schedule: missing");
      return;
    }
    positive(found, "schedule.peakLearningRate", schedule.peakLearningRate());
    notNegative(found, "schedule.finalLearningRate", schedule.finalLearningRate());
    require(found, schedule.warmupSteps() >= 0, "schedule.warmupSteps: is negative");
    require(found, schedule.decaySteps() >= 0, "schedule.decaySteps: is negative");
    require(
        found,
        schedule.warmupSteps() + schedule.decaySteps() <= steps,
        "schedule: warmupSteps "
            + schedule.warmupSteps()
            + " + decaySteps "
            + schedule.decaySteps()
            + " is more than steps "
            + steps);
  }

  private static void require(List<String> found, boolean holds, String problem) {
    if (!holds) {
      found.add(problem);
    }
  }

  private static void positive(List<String> found, String field, double value) {
    require(found, value > 0 && Double.isFinite(value), field + ": " + value + " is not positive");
  }

  private static void notNegative(List<String> found, String field, double value) {
    require(found, value >= 0 && Double.isFinite(value), field + ": " + value + " is negative");
  }

  private static void unit(List<String> found, String field, double value) {
    require(found, value >= 0 && value < 1, field + ": " + value + " is not in [0, 1)");
  }

  private static void port(List<String> found, String field, int value) {
    require(
        found, value >= 1 && value <= 65535, field + ": " + value + " is not a port (1 to 65535)");
  }
}
