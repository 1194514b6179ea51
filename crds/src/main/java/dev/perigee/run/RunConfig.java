package dev.perigee.run;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonInclude;
import java.util.Collections;
import java.util.EnumSet;
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
 * @param trace the step of which a timeline is written, null for none
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
    Compute compute,
    Trace trace) {

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
  public record DataSource(String name, double weight, String builtin, String path) {
    /** Sources of one run: each has a sequence in every 1,024. */
    public static final int MOST = 1024;
  }

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
    /** What a manifest that says nothing gets. */
    public static final Optimizer DEFAULT =
        new Optimizer(
            Kind.MuonClip,
            0.1,
            1,
            Muon.DEFAULT,
            AdamW.DEFAULT,
            QkClip.DEFAULT,
            /* routerBiasRate= */ 1e-3);

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
  public record Evaluation(long intervalSteps, int problems, double heldOutFraction) {
    /**
     * Most problems that can be asked: about half of the different ones that {@code arithmetic}
     * has, so that drawing them does not take longer and longer for each new one.
     */
    public static final int MOST_PROBLEMS = 500_000;
  }

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

  /**
   * What to record of a run.
   *
   * @param step whose timeline is written, over all ranks
   */
  public record Trace(long step) {}

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
        Compute.DEFAULT,
        null);
  }

  /** The same run with another way through the stages. */
  public RunConfig with(Pipeline other) {
    return with(other, memory, compute, trace);
  }

  /** The same run with another use of memory. */
  public RunConfig with(Memory other) {
    return with(pipeline, other, compute, trace);
  }

  /** The same run on something else. */
  public RunConfig with(Compute other) {
    return with(pipeline, memory, other, trace);
  }

  /** The same run with a timeline of a step. */
  public RunConfig with(Trace other) {
    return with(pipeline, memory, compute, other);
  }

  private RunConfig with(Pipeline pipeline, Memory memory, Compute compute, Trace trace) {
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
        compute,
        trace);
  }

  /** Sequences of one step over all ranks. */
  @JsonIgnore
  public long batchSequences() {
    return batchTokens / sequenceLength;
  }

  /** What is wrong with this configuration, one line each, naming the field; empty when nothing. */
  @JsonIgnore
  public List<String> problems() {
    return RunConfigProblems.of(this);
  }
}
