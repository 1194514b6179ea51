package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Sum;
import dev.perigee.engine.model.Block.Weights;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/**
 * Consecutive layers of a model, which compute one micro-batch after the other: the first chunk of
 * a model begins with the embedding, the last one ends with the loss. What a micro-batch leaves
 * behind is a {@link Pass}; several are alive at once in a pipeline, and end in any order.
 *
 * <p>A pass goes through a chunk in one part, or cut where rows of experts travel. Then, with n
 * layers of experts, there are 2n + 1 parts: part 2k ends where the rows of mixture k leave, part
 * 2k + 1 is its experts, and the next part begins where the rows are back. Between two parts comes
 * {@link #exchange}; backward the same in reverse.
 *
 * <p>T tokens of the micro-batch, H hidden, V vocabulary.
 */
public final class Chunk {
  /** Tokens whose logits a loss without gradients takes at a time. */
  private static final int LOSS_TOKENS = 2048;

  private final Backend backend;
  private final Parameter embedding_VH; // null but in the first chunk
  private final List<Block> blocks;
  private final List<List<Parameter>> parametersOfBlocks;
  private final List<Integer> mixtures = new ArrayList<>(); // indices of blocks with experts
  private final RmsNorm finalNorm; // null but in the last chunk
  private final Linear head;
  private final List<Parameter> parametersOfHead;
  private final Rotary rotary;
  private final int hidden;
  private final Sum loss; // null but in the last chunk

  Chunk(
      Backend backend,
      Parameter embedding_VH,
      List<Block> blocks,
      List<List<Parameter>> parametersOfBlocks,
      RmsNorm finalNorm,
      Linear head,
      List<Parameter> parametersOfHead,
      Rotary rotary,
      int hidden) {
    this.backend = backend;
    this.embedding_VH = embedding_VH;
    this.blocks = List.copyOf(blocks);
    this.parametersOfBlocks = parametersOfBlocks;
    this.finalNorm = finalNorm;
    this.head = head;
    this.parametersOfHead = parametersOfHead;
    this.rotary = rotary;
    this.hidden = hidden;
    this.loss = head == null ? null : backend.sum();
    for (int i = 0; i < blocks.size(); i++) {
      if (blocks.get(i).mixture() != null) {
        mixtures.add(i);
      }
    }
  }

  /** Exchanges of rows between the ranks that share the experts. */
  public enum Exchange {
    DISPATCH,
    COMBINE,
    COMBINE_BACKWARD,
    DISPATCH_BACKWARD
  }

  /** One micro-batch's way through a chunk, and the memory of what it leaves. */
  public final class Pass implements AutoCloseable {
    private final Indices ids;
    private final Indices targets;
    private final Tokens tokens;
    private final float gradScale;
    private final boolean cut;
    private final Arena.Region memory = backend.arena().region();
    private final List<Block.Pass> passes = new ArrayList<>();
    private Tensor x_TH;
    private Tensor d_TH;
    private RmsNorm.Output normed_TH;
    private Tensor logits_TV; // and then their gradient; null where the loss is fused
    private Tensor dnormed_TH;

    private Pass(int[] ids, int[] targets, int batch, int length, double gradScale, boolean cut) {
      this.gradScale = (float) gradScale;
      this.cut = cut;
      try (Arena.Scope _ = memory.enter()) {
        this.tokens = Tokens.sequences(backend, ids, batch, length, true);
        this.ids = backend.indices(ids);
        this.targets = backend.indices(targets);
      }
    }

    private Pass(Indices ids, Indices targets, Tokens tokens, double gradScale) {
      this.ids = ids;
      this.targets = targets;
      this.tokens = tokens;
      this.gradScale = (float) gradScale;
      this.cut = false;
    }

    /** The chunk's input, to be filled before the first part; not in the first chunk. */
    public Tensor input_TH() {
      if (x_TH == null) {
        x_TH = memory.take(ids.size(), hidden);
      }
      return x_TH;
    }

    /** The chunk's output, after the last part; not in the last chunk. */
    public Tensor output_TH() {
      return x_TH;
    }

    /** The output's gradient, to be filled before backward; not in the last chunk. */
    public Tensor outputGradient_TH() {
      if (d_TH == null) {
        d_TH = memory.take(ids.size(), hidden);
      }
      return d_TH;
    }

    /** The input's gradient, after backward; not in the first chunk. */
    public Tensor inputGradient_TH() {
      return d_TH;
    }

    /** Parts of the pass. */
    public int parts() {
      return cut ? 2 * mixtures.size() + 1 : 1;
    }

    /** Moves what backward needs to the host, and gives its memory back. */
    public void offload() {
      memory.offload(backend.hostStore());
    }

    /** Brings it back. */
    public void load() {
      memory.load();
    }

    /** Ends the pass; its tensors must not be used any more. */
    @Override
    public void close() {
      memory.release();
    }
  }

  /** Whether the chunk begins with the embedding. */
  public boolean isFirst() {
    return embedding_VH != null;
  }

  /** Whether the chunk ends with the loss. */
  public boolean isLast() {
    return head != null;
  }

  /**
   * Begins a pass.
   *
   * @param ids token ids, sequence after sequence, batch · length of them
   * @param targets what each token should predict; negative ones do not count
   * @param gradScale factor on every gradient
   * @param cut whether it goes in parts, with the exchanges of experts between them
   */
  public Pass pass(int[] ids, int[] targets, int batch, int length, double gradScale, boolean cut) {
    rotary.reach(length);
    return new Pass(ids, targets, batch, length, gradScale, cut);
  }

  /** The same in one part, over tokens that are where the backend wants them. */
  Pass pass(Indices ids, Indices targets, Tokens tokens, double gradScale) {
    return new Pass(ids, targets, tokens, gradScale);
  }

  /** Begins a sum of losses. */
  public void resetLoss() {
    if (isLast()) {
      loss.clear();
    }
  }

  /**
   * The cross-entropy in nats of all passes since {@link #resetLoss}, summed over the targets that
   * count; 0 but in the last chunk. Waits for the passes.
   */
  public double loss() {
    return isLast() ? loss.value() : 0;
  }

  /** Computes a part. */
  public void forward(Pass p, int part) {
    try (Arena.Scope _ = p.memory.enter()) {
      if (part == 0 && isFirst()) {
        p.x_TH = backend.arena().take(p.ids.size(), hidden);
        backend.embedding(p.ids, embedding_VH.value(), p.x_TH);
      }
      if (!p.cut) {
        for (Block block : blocks) {
          Block.Pass pass = block.begin(p.x_TH, p.tokens);
          p.passes.add(pass);
          MoeLayer moe = block.mixture();
          if (moe != null) {
            moe.dispatch(pass.fed());
            moe.experts(pass.fed());
            moe.combine(pass.fed());
          }
          p.x_TH = block.finish(pass);
        }
      } else if (part % 2 == 1) {
        int i = mixtures.get(part / 2);
        blocks.get(i).mixture().experts(p.passes.get(i).fed());
        return;
      } else {
        forwardBetween(p, part / 2);
      }
      if (part == p.parts() - 1 && isLast()) {
        p.normed_TH = finalNorm.forward(p.x_TH);
        headForward(p);
      }
    }
  }

  /** From where the rows of the mixture before {@code k} are back to where those of k leave. */
  private void forwardBetween(Pass p, int k) {
    int from = k == 0 ? 0 : mixtures.get(k - 1);
    int end = k == mixtures.size() ? blocks.size() : mixtures.get(k) + 1;
    for (int i = from; i < end; i++) {
      Block block = blocks.get(i);
      if (i > from || k == 0) {
        p.passes.add(block.begin(p.x_TH, p.tokens));
      }
      if (i < end - 1 || k == mixtures.size()) {
        p.x_TH = block.finish(p.passes.get(i));
      }
    }
  }

  /**
   * Exchanges the rows of one mixture between two parts of a pass; the ranks that share its experts
   * call it together. It computes nothing and may run on another thread than the parts.
   *
   * @param k which of the chunk's mixtures
   */
  public void exchange(Pass p, Exchange what, int k) {
    int i = mixtures.get(k);
    MoeLayer moe = blocks.get(i).mixture();
    FeedForward.Output fed = p.passes.get(i).fed();
    switch (what) {
      case DISPATCH -> moe.dispatch(fed);
      case COMBINE -> moe.combine(fed);
      case COMBINE_BACKWARD -> moe.combineBackward(fed);
      case DISPATCH_BACKWARD -> moe.dispatchBackward(fed);
    }
  }

  /**
   * Adds a part's gradients, of input and weights.
   *
   * @param done is told parameters as soon as their gradients are complete for this pass: the head
   *     and the last norm, each layer from the last to the first, the embedding
   */
  public void backward(Pass p, int part, Consumer<List<Parameter>> done) {
    backward(p, part, Weights.NOW, done);
  }

  /** Computes the gradient of a part's input; its {@link #backwardWeight} is to follow. */
  public void backwardInput(Pass p, int part) {
    backward(p, part, Weights.LATER, none -> {});
    if (part == 0) {
      p.memory.dropAgain(); // some of it only the input's gradient needed
    }
  }

  private void backward(Pass p, int part, Weights weights, Consumer<List<Parameter>> done) {
    try (Arena.Scope _ = p.memory.enter()) {
      if (part == p.parts() - 1 && isLast()) {
        if (p.dnormed_TH == null) {
          p.dnormed_TH = head.backwardInput(p.logits_TV);
        }
        p.d_TH = finalNorm.backwardInput(p.normed_TH, p.dnormed_TH);
        if (weights == Weights.NOW) {
          headWeights(p);
          done.accept(parametersOfHead);
        }
      }
      if (!p.cut) {
        for (int i = blocks.size() - 1; i >= 0; i--) {
          Block block = blocks.get(i);
          Block.Pass pass = p.passes.get(i);
          block.backwardBegin(pass, p.d_TH, weights);
          MoeLayer moe = block.mixture();
          if (moe != null) {
            moe.combineBackward(pass.fed());
            block.backwardExperts(pass);
            moe.dispatchBackward(pass.fed());
          }
          backwardFinish(p, i, weights, done);
        }
      } else if (part % 2 == 1) {
        int i = mixtures.get(part / 2);
        blocks.get(i).backwardExperts(p.passes.get(i));
        return;
      } else {
        backwardBetween(p, part / 2, weights, done);
      }
      if (part == 0 && isFirst() && weights == Weights.NOW) {
        backend.embeddingBackward(p.ids, p.d_TH, embedding_VH.gradient());
        done.accept(List.of(embedding_VH));
      }
    }
  }

  private void backwardFinish(Pass p, int i, Weights weights, Consumer<List<Parameter>> done) {
    p.d_TH = blocks.get(i).backwardFinish(p.passes.get(i), p.d_TH, weights);
    if (weights == Weights.NOW) {
      done.accept(parametersOfBlocks.get(i));
    }
  }

  /** The reverse of {@link #forwardBetween}. */
  private void backwardBetween(Pass p, int k, Weights weights, Consumer<List<Parameter>> done) {
    int first = k == 0 ? 0 : mixtures.get(k - 1);
    int end = k == mixtures.size() ? blocks.size() : mixtures.get(k) + 1;
    for (int i = end - 1; i >= first; i--) {
      if (i < end - 1 || k == mixtures.size()) {
        blocks.get(i).backwardBegin(p.passes.get(i), p.d_TH, weights);
      }
      if (i > first || k == 0) {
        backwardFinish(p, i, weights, done);
      }
    }
  }

  /**
   * Adds the gradients of a part's weights, after {@link #backwardInput} of it and after those of
   * the parts behind it. An exchange of the same pass may be under way.
   *
   * @param done as of {@link #backward}
   */
  public void backwardWeight(Pass p, int part, Consumer<List<Parameter>> done) {
    try (Arena.Scope _ = p.memory.enter()) {
      if (part == p.parts() - 1 && isLast()) {
        headWeights(p);
        done.accept(parametersOfHead);
      }
      if (part % 2 == 1) {
        int i = mixtures.get(part / 2);
        blocks.get(i).backwardExpertsWeight(p.passes.get(i));
        return;
      }
      int k = part / 2;
      int end = p.cut && k < mixtures.size() ? mixtures.get(k) + 1 : blocks.size();
      int first = k == 0 ? 0 : mixtures.get(k - 1) + 1;
      for (int i = end - 1; i >= first; i--) {
        Block block = blocks.get(i);
        if (!p.cut && block.mixture() != null) {
          block.backwardExpertsWeight(p.passes.get(i));
        }
        block.backwardWeight(p.passes.get(i));
        done.accept(parametersOfBlocks.get(i));
      }
      if (part == 0 && isFirst()) {
        backend.embeddingBackward(p.ids, p.d_TH, embedding_VH.gradient());
        done.accept(List.of(embedding_VH));
      }
    }
  }

  /** Where the logits of all tokens are too many, the head goes back at once. */
  private void headForward(Pass p) {
    Tensor x_TH = p.normed_TH.y();
    if (backend.fusesLoss(x_TH, head.weight())) {
      p.dnormed_TH = backend.arena().take(x_TH.dim(0), hidden);
      backend.linearCrossEntropy(
          x_TH, head.weight(), p.targets, p.gradScale, p.dnormed_TH, head.gradient(), loss);
    } else {
      p.logits_TV = head.forwardFloats(x_TH);
      backend.crossEntropy(p.logits_TV, p.targets, p.gradScale, loss);
    }
  }

  private void headWeights(Pass p) {
    if (p.logits_TV != null) {
      head.backwardWeight(p.logits_TV, p.normed_TH.y());
    }
    finalNorm.backwardWeight(p.normed_TH, p.dnormed_TH);
  }

  /** The layers of this chunk. */
  List<Block> blocks() {
    return blocks;
  }

  /** Input of the first layer: embedded tokens. */
  Tensor embed(Indices ids) {
    Tensor x_TH = backend.arena().take(ids.size(), hidden);
    backend.embedding(ids, embedding_VH.value(), x_TH);
    return x_TH;
  }

  /** Adds the loss of the last layer's output, without a gradient; holds few logits at a time. */
  void addLoss(Tensor x_TH, int[] targets) {
    for (int at = 0; at < targets.length; at += LOSS_TOKENS) {
      int count = Math.min(LOSS_TOKENS, targets.length - at);
      try (Arena.Scope _ = backend.arena().open()) {
        Indices some = Indices.of(Arrays.copyOfRange(targets, at, at + count));
        backend.crossEntropy(logits(x_TH.slice(at, count)), some, 0, loss);
      }
    }
  }

  /** All parameters, in the order in which {@link #backward} is done with them. */
  List<Parameter> parametersFromTheEnd() {
    List<Parameter> all = new ArrayList<>(parametersOfHead);
    parametersOfBlocks.reversed().forEach(all::addAll);
    if (isFirst()) {
      all.add(embedding_VH);
    }
    return all;
  }

  /** Logits of the last layer's output. */
  Tensor logits(Tensor x_TH) {
    return head.forwardFloats(finalNorm.forward(x_TH).y());
  }
}
