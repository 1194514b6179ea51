package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * Bytes of activations of one micro-batch, tensor by tensor.
 *
 * <p>On a CPU they are what the engine takes from its arena, sizes rounded up as the arena does. On
 * a GPU they are what backward needs: attention keeps the logarithms of its sums and no
 * probabilities, and what only passes through is given back.
 *
 * <p>T tokens of a micro-batch, H hidden, A query rank, L latent rank, R rotary width, Q = heads ·
 * (nope + rope), X = heads · (nope + value), O = heads · value, E experts, K chosen, F width.
 */
final class ActivationCount {
  /** FP8 with one float32 scale for each 128 numbers. */
  private static final double FP8_BYTES = 1 + 4.0 / 128;

  /** What a tensor is, which says whether it is kept and how wide its numbers are. */
  private enum Part {
    RESIDUAL,
    NORM,
    MLA_UP,
    LATENT,
    CORE,
    EXPERT_INPUT,
    SWIGLU_INPUT,
    SWIGLU,
    EXPERT_OUTPUT,
    /** Kept in float32: scales of norms, scores of the router, sums of attention. */
    PRECISE,
    /** Probabilities of attention, which only the CPU keeps. */
    PROBABILITIES,
    /** Logarithms of attention's sums, which only a GPU keeps. */
    LOG_SUMS,
    /** Passes through: the CPU's arena gives it back with the rest. */
    PASSING
  }

  private record Taken(Part part, long numbers) {}

  private final Workload workload;
  private final ModelConfig c;
  private final boolean arena;
  private final int activationBytes;
  private final int expertRanks;
  private final long t;

  ActivationCount(Workload workload, Layout layout, Hardware hardware) {
    this.workload = workload;
    this.c = workload.model();
    this.arena = hardware instanceof Hardware.Cpu;
    this.activationBytes = hardware.precision().activation();
    this.expertRanks = layout.mesh().expert();
    this.t = (long) layout.microBatch() * workload.sequenceLength();
  }

  /** What a chunk keeps of one micro-batch between forward and backward. */
  long kept(StageLayout stages, int chunk) {
    long sum = bytes(input());
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      sum += bytes(forward(stages.firstLayer(chunk) + i));
    }
    return chunk == stages.chunks() - 1 ? sum + bytes(headForward()) : sum;
  }

  /** What a chunk's backward takes besides, at most. */
  long working(StageLayout stages, int chunk) {
    long most = 0;
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      int layer = stages.firstLayer(chunk) + i;
      long again = recomputed(layer);
      most = Math.max(most, Math.max(bytes(feedForwardBackward(layer)), bytes(attentionBackward())) + again);
    }
    return most + (chunk == stages.chunks() - 1 ? bytes(headBackward()) : 0);
  }

  /** What gradients a chunk keeps where those of its weights come later. */
  long delayed(StageLayout stages, int chunk) {
    long sum = 0;
    for (int i = 0; i < stages.layers().get(chunk); i++) {
      int layer = stages.firstLayer(chunk) + i;
      sum += bytes(feedForwardBackward(layer)) + bytes(attentionBackward());
    }
    return sum;
  }

  private List<Taken> input() {
    return List.of(new Taken(Part.RESIDUAL, t * c.hiddenSize()));
  }

  private List<Taken> forward(int layer) {
    List<Taken> taken = new ArrayList<>();
    attention(taken);
    norm(taken, c.hiddenSize());
    if (c.isMoeLayer(layer)) {
      mixture(taken);
    } else {
      swiGlu(taken, t, c.intermediateSize());
      taken.add(new Taken(Part.RESIDUAL, t * c.hiddenSize()));
    }
    return taken;
  }

  private void attention(List<Taken> taken) {
    long heads = c.numAttentionHeads();
    norm(taken, c.hiddenSize());
    if (c.qLoraRank() > 0) {
      taken.add(new Taken(Part.LATENT, t * c.qLoraRank()));
      norm(taken, c.qLoraRank());
    }
    taken.add(new Taken(Part.MLA_UP, t * heads * c.qkHeadDim()));
    taken.add(new Taken(Part.LATENT, t * c.kvLoraRank()));
    taken.add(new Taken(Part.LATENT, t * c.qkRopeHeadDim()));
    taken.add(new Taken(Part.PASSING, t * (c.kvLoraRank() + c.qkRopeHeadDim())));
    norm(taken, c.kvLoraRank());
    taken.add(new Taken(Part.MLA_UP, t * heads * (c.qkNopeHeadDim() + c.vHeadDim())));
    taken.add(new Taken(Part.CORE, t * heads * c.vHeadDim()));
    taken.add(new Taken(Part.PROBABILITIES, t * heads * workload.sequenceLength()));
    taken.add(new Taken(Part.LOG_SUMS, t * heads));
    taken.add(new Taken(Part.RESIDUAL, t * c.hiddenSize()));
  }

  private void norm(List<Taken> taken, long width) {
    taken.add(new Taken(Part.NORM, t * width));
    taken.add(new Taken(Part.PRECISE, t));
  }

  private static void swiGlu(List<Taken> taken, long rows, long width) {
    taken.add(new Taken(Part.SWIGLU_INPUT, rows * 2 * width));
    taken.add(new Taken(Part.SWIGLU, rows * width));
  }

  private void mixture(List<Taken> taken) {
    long h = c.hiddenSize();
    long pairs = t * c.numExpertsPerTok();
    taken.add(new Taken(Part.PRECISE, t * c.nRoutedExperts()));
    taken.add(new Taken(Part.PRECISE, pairs));
    taken.add(new Taken(Part.EXPERT_INPUT, pairs * h));
    if (expertRanks > 1) {
      taken.add(new Taken(Part.PASSING, pairs * h));
      taken.add(new Taken(Part.PASSING, pairs * h));
    }
    swiGlu(taken, pairs, c.moeIntermediateSize());
    taken.add(new Taken(Part.EXPERT_OUTPUT, pairs * h));
    if (expertRanks > 1) {
      taken.add(new Taken(Part.PASSING, pairs * h));
      taken.add(new Taken(Part.PASSING, pairs * h));
    }
    if (c.nSharedExperts() > 0) {
      swiGlu(taken, t, (long) c.nSharedExperts() * c.moeIntermediateSize());
    }
    taken.add(new Taken(Part.RESIDUAL, t * h));
  }

  private List<Taken> headForward() {
    List<Taken> taken = new ArrayList<>();
    norm(taken, c.hiddenSize());
    taken.add(new Taken(Part.RESIDUAL, t * c.vocabSize()));
    return taken;
  }

  private List<Taken> headBackward() {
    return List.of(
        new Taken(Part.RESIDUAL, t * c.hiddenSize()), new Taken(Part.RESIDUAL, t * c.hiddenSize()));
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

  private void gradient(List<Taken> taken, long width) {
    taken.add(new Taken(Part.RESIDUAL, t * width));
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
    long k = c.numExpertsPerTok();
    gradient(taken, k * h);
    gradient(taken, k);
    for (int i = 0; i < (expertRanks > 1 ? 4 : 0); i++) {
      gradient(taken, k * h);
    }
    gradient(taken, k * c.moeIntermediateSize());
    gradient(taken, 2 * k * c.moeIntermediateSize());
    gradient(taken, k * h);
    gradient(taken, c.nRoutedExperts());
    gradient(taken, h);
    if (c.nSharedExperts() > 0) {
      long width = (long) c.nSharedExperts() * c.moeIntermediateSize();
      gradient(taken, width);
      gradient(taken, 2 * width);
      gradient(taken, h);
    }
    return taken;
  }

  /** What one layer's backward computes again, all of it at most. */
  private long recomputed(int layer) {
    long sum = 0;
    for (Taken taken : forward(layer)) {
      if (!arena && dropped(taken.part)) {
        sum += activationBytes * taken.numbers;
      }
    }
    return sum;
  }

  private boolean dropped(Part part) {
    return switch (part) {
      case NORM -> workload.recompute().contains(Workload.Recompute.NORMS);
      case SWIGLU -> workload.recompute().contains(Workload.Recompute.SWIGLU);
      case MLA_UP -> workload.recompute().contains(Workload.Recompute.MLA_UP);
      case EXPERT_OUTPUT -> workload.recompute().contains(Workload.Recompute.EXPERT_DOWN);
      default -> false;
    };
  }

  private long bytes(List<Taken> taken) {
    double sum = 0;
    for (Taken tensor : taken) {
      sum += arena ? 4.0 * arenaNumbers(tensor) : bytes(tensor);
    }
    return Math.round(sum);
  }

  private double bytes(Taken tensor) {
    if (dropped(tensor.part)) {
      return 0;
    }
    return tensor.numbers
        * switch (tensor.part) {
          case RESIDUAL, NORM, MLA_UP, LATENT, CORE, SWIGLU, EXPERT_OUTPUT -> activationBytes;
          case EXPERT_INPUT, SWIGLU_INPUT -> workload.fp8() ? FP8_BYTES : activationBytes;
          case PRECISE, LOG_SUMS -> 4.0;
          case PROBABILITIES, PASSING -> 0.0;
        };
  }

  private long arenaNumbers(Taken tensor) {
    return tensor.part == Part.LOG_SUMS ? 0 : ArenaSize.of(tensor.numbers);
  }
}
