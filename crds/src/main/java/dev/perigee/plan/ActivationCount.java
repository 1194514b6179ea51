package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunConfig.Memory.Fp8;
import dev.perigee.run.RunConfig.Memory.Recompute;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Bytes of activations of one micro-batch, tensor by tensor.
 *
 * <p>On a CPU they are what the engine takes from its arena, sizes rounded up as the arena does. On
 * a GPU they are what backward needs: attention keeps the logarithms of its sums and no
 * probabilities where it can ({@link Hardware#keepsProbabilities}), the loss no logits where it can
 * ({@link LossMemory}), and what only passes through is given back, but for their gradient, which
 * is as large.
 *
 * <p>T tokens of a micro-batch, H hidden, A query rank, L latent rank, R rotary width, Q = heads ·
 * (nope + rope), X = heads · (nope + value), O = heads · value, E experts, K chosen, F width.
 */
final class ActivationCount {
  /** Numbers of FP8 that share a float32 scale. */
  private static final int FP8_BLOCK = 128;

  private static final double FP8_BYTES = 1 + 4.0 / FP8_BLOCK;

  /** What a tensor is, which says whether it is kept and how wide its numbers are. */
  private enum Part {
    RESIDUAL,
    NORM,
    LATENT_PROJECTION,
    LATENT,
    CORE,
    EXPERT_INPUT,
    SWIGLU_INPUT,
    SWIGLU,
    /** Results of experts, where they are made. */
    EXPERT_RESULT,
    /** Results of experts, back with their tokens. */
    EXPERT_OUTPUT,
    /** Kept in float32: scales of norms, scores of the router. */
    PRECISE,
    /** Probabilities of attention, where they are kept. */
    PROBABILITIES,
    /** Logarithms of attention's sums, which are kept instead. */
    LOG_SUMS,
    /** Passes through: the CPU's arena gives it back with the rest. */
    PASSING
  }

  /** Which rows a tensor has. */
  private enum Rows {
    /** The micro-batch's tokens. */
    TOKENS,
    /** The micro-batch's pairs of token and expert. */
    PAIRS,
    /** Pairs that this rank's experts work on: as many, but for chance. */
    ROUTED
  }

  private record Taken(Part part, Rows rows, long width) {}

  private final RunConfig.Memory memory;
  private final ModelConfig c;
  private final int length;
  private final boolean arena;
  private final int activationBytes;
  private final boolean keepsProbabilities;
  private final LossMemory loss;
  private final int expertRanks;
  private final long t;

  ActivationCount(Workload workload, Layout layout, Hardware hardware) {
    this.memory = workload.memory();
    this.c = workload.model();
    this.length = workload.sequenceLength();
    this.arena = hardware instanceof Hardware.Cpu;
    this.activationBytes = hardware.precision().activation();
    this.keepsProbabilities = hardware.keepsProbabilities(workload.model());
    this.expertRanks = layout.mesh().expert();
    this.t = (long) layout.microBatch() * length;
    this.loss = LossMemory.of(c, t, hardware);
  }

  /** What a chunk keeps of one micro-batch between forward and backward. */
  long kept(StageLayout stages, int chunk) {
    return kept(stages, chunk, 1)[0];
  }

  /**
   * The same by the part of the forward pass that takes it, see {@link Step}: rows leave for their
   * experts at the end of one part, and what the experts make of them belongs to the next.
   */
  long[] kept(StageLayout stages, int chunk, int parts) {
    double[] sums = new double[parts];
    sums[0] = kept(List.of(tokens(Part.RESIDUAL, c.hiddenSize())));
    int part = 0;
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      int layer = stages.firstLayer(chunk) + i;
      boolean cut = parts > 1 && c.isMoeLayer(layer);
      double whole = kept(attention()) + kept(feedForward(layer));
      double before = cut ? kept(attention()) + kept(beforeExperts()) : whole;
      sums[part] += before;
      if (cut) {
        sums[part + 1] += whole - before;
        part += 2;
      }
    }
    if (chunk == stages.chunks() - 1) {
      sums[parts - 1] += kept(head()) + loss.kept();
    }
    return Arrays.stream(sums).mapToLong(Math::round).toArray();
  }

  /**
   * What a chunk's backward takes besides, at most: a layer's backward goes in two halves, and each
   * gives back what it took.
   */
  long working(StageLayout stages, int chunk) {
    double most = 0;
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      int layer = stages.firstLayer(chunk) + i;
      most =
          Math.max(
              most,
              Math.max(
                  kept(feedForwardBackward(layer)) + madeAgain(feedForward(layer), false),
                  kept(attentionBackward()) + madeAgain(attention(), false)));
    }
    return Math.round(most + ends(stages, chunk));
  }

  /**
   * What each part of a chunk's backward leaves where the gradients of its weights come later, with
   * the exchange that follows it.
   */
  long[] delayed(StageLayout stages, int chunk, int parts) {
    double[] sums = new double[parts];
    sums[parts - 1] = ends(stages, chunk);
    int part = 0;
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      int layer = stages.firstLayer(chunk) + i;
      boolean cut = parts > 1 && c.isMoeLayer(layer);
      // The gradients of the two residual sums are copied, since both are still needed.
      Taken copy = tokens(Part.RESIDUAL, c.hiddenSize());
      sums[part] += kept(attentionBackward()) + kept(List.of(copy, copy));
      if (c.isMoeLayer(layer)) {
        sums[part] += kept(routerBackward());
        sums[cut ? part + 1 : part] += kept(expertsBackward());
        sums[cut ? part + 2 : part] += kept(resultsBackward());
      } else {
        sums[part] += kept(feedForwardBackward(layer));
      }
      part += cut ? 2 : 0;
    }
    return Arrays.stream(sums).mapToLong(Math::round).toArray();
  }

  /**
   * What each part of a chunk's backward computes or unpacks again where it is kept until the end.
   *
   * @param forWeights whether for the gradients of weights, which need only what was multiplied
   *     with them
   */
  long[] again(StageLayout stages, int chunk, int parts, boolean forWeights) {
    double[] sums = new double[parts];
    int part = 0;
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      int layer = stages.firstLayer(chunk) + i;
      boolean cut = parts > 1 && c.isMoeLayer(layer);
      sums[part] += madeAgain(attention(), forWeights);
      sums[cut ? part + 1 : part] += madeAgain(feedForward(layer), forWeights);
      part += cut ? 2 : 0;
    }
    return Arrays.stream(sums).mapToLong(Math::round).toArray();
  }

  /**
   * What passes through any one layer's backward and is too large to be left out: on a GPU the
   * gradient of one sequence's probabilities.
   */
  long passing() {
    return arena || !keepsProbabilities ? 0 : 4L * c.numAttentionHeads() * length * length;
  }

  /** What the loss works in, which stays with the rank that has the last chunk; else 0. */
  long loss(StageLayout stages, int chunk) {
    return chunk == stages.chunks() - 1 ? loss.working() : 0;
  }

  /** The gradient of the chunk's output: received, or made by the head, now or in forward. */
  private double ends(StageLayout stages, int chunk) {
    Taken gradient = tokens(Part.RESIDUAL, c.hiddenSize());
    return chunk == stages.chunks() - 1 && !loss.fused()
        ? kept(List.of(gradient, gradient))
        : kept(List.of(gradient));
  }

  private static Taken tokens(Part part, long width) {
    return new Taken(part, Rows.TOKENS, width);
  }

  private List<Taken> attention() {
    long heads = c.numAttentionHeads();
    List<Taken> taken = new ArrayList<>();
    norm(taken, c.hiddenSize());
    if (c.qLoraRank() > 0) {
      taken.add(tokens(Part.LATENT, c.qLoraRank()));
      norm(taken, c.qLoraRank());
    }
    taken.add(tokens(Part.LATENT_PROJECTION, heads * c.qkHeadDim()));
    taken.add(tokens(Part.LATENT, c.kvLoraRank()));
    taken.add(tokens(Part.LATENT, c.qkRopeHeadDim()));
    taken.add(tokens(Part.PASSING, c.kvLoraRank() + c.qkRopeHeadDim()));
    norm(taken, c.kvLoraRank());
    taken.add(tokens(Part.LATENT_PROJECTION, heads * (c.qkNopeHeadDim() + c.vHeadDim())));
    taken.add(tokens(Part.CORE, heads * c.vHeadDim()));
    taken.add(tokens(Part.PROBABILITIES, heads * length));
    taken.add(tokens(Part.LOG_SUMS, heads));
    taken.add(tokens(Part.RESIDUAL, c.hiddenSize()));
    return taken;
  }

  private static void norm(List<Taken> taken, long width) {
    taken.add(tokens(Part.NORM, width));
    taken.add(tokens(Part.PRECISE, 1));
  }

  private static void swiGlu(List<Taken> taken, Rows rows, long width) {
    taken.add(new Taken(Part.SWIGLU_INPUT, rows, 2 * width));
    taken.add(new Taken(Part.SWIGLU, rows, width));
  }

  private List<Taken> feedForward(int layer) {
    long h = c.hiddenSize();
    List<Taken> taken = new ArrayList<>();
    if (!c.isMoeLayer(layer)) {
      norm(taken, h);
      swiGlu(taken, Rows.TOKENS, c.intermediateSize());
      taken.add(tokens(Part.RESIDUAL, h));
      return taken;
    }
    taken.addAll(beforeExperts());
    if (expertRanks > 1) {
      taken.add(new Taken(Part.PASSING, Rows.ROUTED, h));
      taken.add(new Taken(Part.EXPERT_INPUT, Rows.ROUTED, h));
    }
    swiGlu(taken, Rows.ROUTED, c.moeIntermediateSize());
    if (expertRanks > 1) {
      taken.add(new Taken(Part.EXPERT_RESULT, Rows.ROUTED, h));
      taken.add(new Taken(Part.EXPERT_RESULT, Rows.ROUTED, h));
    }
    taken.add(new Taken(Part.EXPERT_OUTPUT, Rows.PAIRS, h));
    if (c.nSharedExperts() > 0) {
      swiGlu(taken, Rows.TOKENS, (long) c.nSharedExperts() * c.moeIntermediateSize());
    }
    taken.add(tokens(Part.RESIDUAL, h));
    return taken;
  }

  /** A mixture up to where its rows leave; without other ranks they are at their experts then. */
  private List<Taken> beforeExperts() {
    List<Taken> taken = new ArrayList<>();
    norm(taken, c.hiddenSize());
    taken.add(tokens(Part.PRECISE, c.nRoutedExperts()));
    taken.add(tokens(Part.PRECISE, c.numExpertsPerTok()));
    Part rows = expertRanks > 1 ? Part.PASSING : Part.EXPERT_INPUT;
    taken.add(new Taken(rows, Rows.PAIRS, c.hiddenSize()));
    return taken;
  }

  /** The last norm, and what the loss leaves for backward beside {@link LossMemory#kept}. */
  private List<Taken> head() {
    List<Taken> taken = new ArrayList<>();
    norm(taken, c.hiddenSize());
    if (loss.fused()) {
      gradient(taken, c.hiddenSize());
    }
    return taken;
  }

  private List<Taken> attentionBackward() {
    long heads = c.numAttentionHeads();
    List<Taken> taken = new ArrayList<>();
    gradient(taken, heads * c.vHeadDim());
    gradient(taken, heads * c.qkHeadDim());
    gradient(taken, heads * (c.qkNopeHeadDim() + c.vHeadDim()));
    gradient(taken, c.qkRopeHeadDim());
    gradient(taken, c.kvLoraRank());
    gradient(taken, c.kvLoraRank());
    gradient(taken, c.kvLoraRank() + c.qkRopeHeadDim());
    gradient(taken, c.hiddenSize());
    if (c.qLoraRank() > 0) {
      gradient(taken, c.qLoraRank());
      gradient(taken, c.qLoraRank());
    }
    return taken;
  }

  private static void gradient(List<Taken> taken, long width) {
    taken.add(tokens(Part.RESIDUAL, width));
  }

  private static void gradients(List<Taken> taken, int count, Rows rows, long width) {
    for (int i = 0; i < count; i++) {
      taken.add(new Taken(Part.RESIDUAL, rows, width));
    }
  }

  private List<Taken> feedForwardBackward(int layer) {
    long h = c.hiddenSize();
    List<Taken> taken = new ArrayList<>();
    if (!c.isMoeLayer(layer)) {
      gradient(taken, c.intermediateSize());
      gradient(taken, 2L * c.intermediateSize());
      gradient(taken, h);
      return taken;
    }
    taken.addAll(resultsBackward());
    taken.addAll(expertsBackward());
    taken.addAll(routerBackward());
    return taken;
  }

  /** Whether experts' results are computed again; rows then take their weight along in a column. */
  private boolean expertDownAgain() {
    return memory.recompute().contains(Recompute.expertDown);
  }

  /** A mixture's backward up to where rows have come to their experts. */
  private List<Taken> resultsBackward() {
    long h = c.hiddenSize();
    int travels = expertRanks > 1 ? 1 : 0;
    List<Taken> taken = new ArrayList<>();
    gradient(taken, c.numExpertsPerTok());
    if (expertDownAgain()) {
      gradients(taken, travels, Rows.PAIRS, h + 1);
      gradients(taken, travels, Rows.ROUTED, h + 1);
      gradients(taken, 1, Rows.PAIRS, 1);
    } else {
      gradients(taken, 1, Rows.PAIRS, h);
      gradients(taken, travels, Rows.ROUTED, h);
    }
    return taken;
  }

  /** That of the experts, up to where rows are back with their tokens. */
  private List<Taken> expertsBackward() {
    long h = c.hiddenSize();
    boolean travel = expertRanks > 1;
    List<Taken> taken = new ArrayList<>();
    if (expertDownAgain()) {
      gradients(taken, travel ? 2 : 1, Rows.ROUTED, h + 1);
      gradients(taken, travel ? 1 : 0, Rows.PAIRS, h + 1);
      gradients(taken, 1, Rows.ROUTED, h);
      gradients(taken, 2, Rows.ROUTED, 1);
    } else {
      gradients(taken, travel ? 3 : 1, Rows.ROUTED, h);
      gradients(taken, travel ? 1 : 0, Rows.PAIRS, h);
    }
    gradients(taken, 1, Rows.ROUTED, c.moeIntermediateSize());
    gradients(taken, 1, Rows.ROUTED, 2L * c.moeIntermediateSize());
    if (c.nSharedExperts() > 0) {
      long width = (long) c.nSharedExperts() * c.moeIntermediateSize();
      gradient(taken, width);
      gradient(taken, 2 * width);
      gradient(taken, h);
    }
    return taken;
  }

  /** That of the router. */
  private List<Taken> routerBackward() {
    List<Taken> taken = new ArrayList<>();
    if (expertDownAgain()) {
      gradients(taken, 1, Rows.PAIRS, c.hiddenSize());
      gradients(taken, 1, Rows.PAIRS, 1);
    }
    gradient(taken, c.nRoutedExperts());
    gradient(taken, c.hiddenSize());
    return taken;
  }

  private double kept(List<Taken> taken) {
    double sum = 0;
    for (Taken tensor : taken) {
      sum += arena ? arenaBytes(tensor) : bytes(tensor);
    }
    return sum;
  }

  /** What backward computes or unpacks again of what a half of a layer has not kept. */
  private double madeAgain(List<Taken> taken, boolean forWeights) {
    double sum = 0;
    for (Taken tensor : taken) {
      boolean again =
          tensor.part != Part.EXPERT_OUTPUT
              && tensor.part != Part.EXPERT_RESULT
              && (dropped(tensor.part) || packed(tensor.part))
              && !(forWeights && notForWeights(tensor.part));
      if (again) {
        sum +=
            arena
                ? 4 * numbers(tensor, tensor.width)
                : activationBytes * rows(tensor) * tensor.width;
      }
    }
    return sum;
  }

  private static boolean notForWeights(Part part) {
    return part == Part.LATENT_PROJECTION || part == Part.SWIGLU_INPUT;
  }

  private boolean dropped(Part part) {
    return switch (part) {
      case NORM -> memory.recompute().contains(Recompute.norms);
      case SWIGLU -> memory.recompute().contains(Recompute.swiGlu);
      case LATENT_PROJECTION -> memory.recompute().contains(Recompute.latentProjections);
      case EXPERT_OUTPUT, EXPERT_RESULT -> memory.recompute().contains(Recompute.expertDown);
      default -> false;
    };
  }

  private boolean packed(Part part) {
    return switch (part) {
      case EXPERT_INPUT -> memory.fp8().contains(Fp8.expertInput);
      case SWIGLU_INPUT -> memory.fp8().contains(Fp8.swiGluInput);
      default -> false;
    };
  }

  private double bytes(Taken tensor) {
    if (dropped(tensor.part)) {
      return 0;
    }
    double each =
        switch (tensor.part) {
          case RESIDUAL, NORM, LATENT_PROJECTION, LATENT, CORE, SWIGLU, EXPERT_OUTPUT ->
              activationBytes;
          case EXPERT_INPUT, SWIGLU_INPUT -> packed(tensor.part) ? FP8_BYTES : activationBytes;
          case PRECISE -> 4.0;
          case LOG_SUMS -> keepsProbabilities ? 0.0 : 4.0;
          case PROBABILITIES -> keepsProbabilities ? 4.0 : 0.0;
          case PASSING, EXPERT_RESULT -> 0.0;
        };
    return each * rows(tensor) * tensor.width;
  }

  private double arenaBytes(Taken tensor) {
    if (dropped(tensor.part) || tensor.part == Part.LOG_SUMS) {
      return 0;
    }
    // Four numbers of eight bits in the place of one, and a scale for each block.
    long width =
        packed(tensor.part)
            ? Math.ceilDiv(tensor.width, FP8_BLOCK) + Math.ceilDiv(tensor.width, 4)
            : tensor.width;
    return 4 * numbers(tensor, width);
  }

  private long rows(Taken tensor) {
    return tensor.rows == Rows.TOKENS ? t : t * c.numExpertsPerTok();
  }

  /**
   * Numbers that a tensor takes from the arena. How many rows come to a rank's experts is chance:
   * half the time it is a little more than the mean, which may be the next larger size.
   */
  private double numbers(Taken tensor, long width) {
    double rows = rows(tensor);
    if (tensor.rows != Rows.ROUTED || expertRanks == 1) {
      return held(rows * width);
    }
    double spread = Math.rint(Math.sqrt(rows));
    return (held((rows - spread) * width) + held((rows + spread) * width)) / 2;
  }

  private static double held(double numbers) {
    return (double) ArenaSize.of((long) numbers);
  }
}
