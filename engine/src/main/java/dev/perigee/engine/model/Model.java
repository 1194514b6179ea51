package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Vocabulary;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.plan.StageLayout;
import dev.perigee.plan.StepPlan;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/**
 * A DeepSeek-V3 or Kimi-K2 model, and the table of contents of this package:
 *
 * <pre>
 * embedding
 * Block × layers   x += MlaAttention(RmsNorm(x));  x += DenseFfn or MoeLayer(RmsNorm(x))
 * RmsNorm
 * head             Linear to the vocabulary, then cross-entropy
 * </pre>
 *
 * <p>{@link MlaAttention} uses {@link Rotary} positions; {@link MoeLayer} sends tokens to the ranks
 * that hold their experts with {@link ExpertExchange}. Weights come from {@link ParameterStore}
 * under their Hugging Face names. There is no tape: each layer has an explicit forward, backward
 * for its input and backward for its weights. {@link #step} runs one token with a {@link
 * LatentCache}.
 *
 * <p>In a pipeline a rank holds some layers only, in one or several {@link Chunk}s ({@link
 * StagePlace}). Training takes micro-batches through the chunks by a schedule; what is called on
 * the model itself goes through all stages at once.
 *
 * <p>T = batch · length tokens, H hidden, V vocabulary. One model belongs to one rank's thread;
 * with expert parallelism the ranks of the group make the same calls together.
 */
public final class Model {
  static final String EMBEDDING = "model.embed_tokens.weight";
  static final String FINAL_NORM = "model.norm.weight";
  static final String HEAD = "lm_head.weight";

  private final ModelConfig config;
  private final Backend backend;
  private final StagePlace place;
  private final boolean sharesExperts;
  private final ParameterStore store;
  private final Rotary rotary;
  private final List<Integer> layers = new ArrayList<>(); // of the model, that this rank holds
  private final List<Block> blocks = new ArrayList<>(); // of those layers
  private final List<Chunk> chunks = new ArrayList<>();
  private MicroBatch microBatch; // of the size that was last asked for; null before

  private Model(
      ModelConfig config,
      Backend backend,
      Collectives expertGroup,
      StagePlace place,
      RunConfig.Memory memory) {
    this.config = config;
    this.backend = backend;
    this.place = place;
    this.sharesExperts = expertGroup.size() > 1;
    store = new ParameterStore(backend);
    rotary = new Rotary(config, backend);
    int v = config.vocabSize();
    int h = config.hiddenSize();
    StageLayout layout = place.layout();
    Weight embedding_VH = null;
    for (int chunk : place.chunks()) {
      Parameter embedding = null;
      if (chunk == 0) {
        embedding_VH = store.table(EMBEDDING, v, h);
        embedding = store.parameters().getLast();
      }
      List<Block> ofChunk = new ArrayList<>();
      List<List<Parameter>> parametersOfBlocks = new ArrayList<>();
      int first = layout.firstLayer(chunk);
      for (int layer = first; layer < first + layout.layers().get(chunk); layer++) {
        int declared = store.parameters().size();
        ofChunk.add(new Block(layer, config, memory, rotary, backend, expertGroup, store));
        parametersOfBlocks.add(declaredSince(declared));
        layers.add(layer);
      }
      int declared = store.parameters().size();
      RmsNorm finalNorm = null;
      Linear head = null;
      if (chunk == layout.chunks() - 1) {
        finalNorm = new RmsNorm(backend, store.gains(FINAL_NORM, h), config.rmsNormEps());
        head =
            new Linear(
                backend, config.tieWordEmbeddings() ? embedding_VH : store.table(HEAD, v, h));
      }
      chunks.add(
          new Chunk(
              backend,
              embedding,
              ofChunk,
              parametersOfBlocks,
              finalNorm,
              head,
              declaredSince(declared),
              rotary,
              h));
      blocks.addAll(ofChunk);
    }
  }

  private List<Parameter> declaredSince(int first) {
    return List.copyOf(store.parameters().subList(first, store.parameters().size()));
  }

  /**
   * A model whose weights are zero and whose norms are one.
   *
   * @param expertGroup the ranks that share the routed experts; this one holds the block of its
   *     index
   * @throws IllegalArgumentException when the shape is not valid, or its experts do not divide
   */
  public static Model create(ModelConfig config, Backend backend, Collectives expertGroup) {
    return create(config, backend, expertGroup, StagePlace.whole(config));
  }

  /** The same with everything kept between forward and backward. */
  public static Model create(
      ModelConfig config, Backend backend, Collectives expertGroup, StagePlace place) {
    return create(config, backend, expertGroup, place, RunConfig.Memory.DEFAULT);
  }

  /**
   * A rank's part of a model, with weights of zero and norms of one.
   *
   * @param expertGroup the ranks that share the routed experts of the same layers
   * @param place which layers
   * @param memory what is kept between forward and backward, and how
   * @throws IllegalArgumentException when the shape is not valid, its experts do not divide, or
   *     embedding and head share weights and are on different stages
   */
  public static Model create(
      ModelConfig config,
      Backend backend,
      Collectives expertGroup,
      StagePlace place,
      RunConfig.Memory memory) {
    List<String> problems = new ArrayList<>(config.problems());
    problems.addAll(place.layout().problems(place.layout().chunks(), config.numHiddenLayers()));
    problems.addAll(StepPlan.tiedEmbeddings(config, place.stages()));
    if (config.nRoutedExperts() % expertGroup.size() != 0) {
      problems.add(
          "%d routed experts do not divide over %d ranks"
              .formatted(config.nRoutedExperts(), expertGroup.size()));
    }
    if (!problems.isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", problems));
    }
    return new Model(config, backend, expertGroup, place, memory);
  }

  /** The model's shape. */
  public ModelConfig config() {
    return config;
  }

  /** This rank's trainable parameters: all dense ones, and its own experts. */
  public List<Parameter> parameters() {
    return store.parameters();
  }

  /** Tensors that are saved but not trained: every router's bias, on every rank. */
  public Map<String, Tensor> buffers() {
    return store.buffers();
  }

  /** All gradients of that sharing back to back, in few large tensors. */
  public List<Tensor> gradients(Parameter.Sharing sharing) {
    return store.gradients(sharing);
  }

  /** Zeroes every gradient. */
  public void zeroGradients() {
    for (Parameter.Sharing sharing : Parameter.Sharing.values()) {
      gradients(sharing).forEach(g -> backend.fill(g, 0));
    }
  }

  /**
   * Fills every matrix with normal numbers of {@code initializerRange}, norms with one and biases
   * with zero. A parameter's numbers depend on the seed and its name only, not on the layout.
   */
  public void initialize(long seed) {
    for (Parameter p : parameters()) {
      if (p.value().rank() == 1) {
        backend.fill(p.value(), 1);
      } else {
        RandomWeights.fill(p.value(), p.name(), seed, config.initializerRange());
      }
    }
    buffers().values().forEach(b -> backend.fill(b, 0));
  }

  /**
   * Takes this rank's weights from a checkpoint. Layers of multi-token prediction (DeepSeek-V3) are
   * left out, as in transformers.
   *
   * @throws WeightMismatchException when a tensor is missing, unknown or of another shape
   */
  public void load(Safetensors weights) throws IOException {
    new WeightLoader(config).load(weights, parameters(), buffers());
  }

  /**
   * One micro-batch, forward and backward: adds {@code gradScale} times the gradient of the summed
   * loss to every gradient, and records {@link #statistics}.
   *
   * @param ids token ids, sequence after sequence, batch · length of them
   * @param targets what each token should predict; negative ones do not count
   * @return the cross-entropy in nats, summed over the targets that count
   */
  public double forwardBackward(int[] ids, int[] targets, int batch, int length, double gradScale) {
    resetLoss();
    addMicroBatch(ids, targets, batch, length, gradScale);
    return loss();
  }

  /**
   * The same without waiting for it: adds its loss to {@link #loss}. A backend may record it, and
   * repeat what it has recorded for the next micro-batch of the same size.
   *
   * @throws IllegalStateException when the model is in several chunks
   * @throws IllegalArgumentException when an id is not in the vocabulary
   */
  public void addMicroBatch(int[] ids, int[] targets, int batch, int length, double gradScale) {
    if (chunks.size() != 1 || place.stages() != 1) {
      throw new IllegalStateException("a model in several chunks goes by a schedule");
    }
    Tokens.check(ids, batch, length);
    Vocabulary.requireTokens(ids, config.vocabSize()); // work that is repeated looks at none
    Vocabulary.requireTargets(targets, config.vocabSize());
    if (microBatch == null || !microBatch.isFor(batch, length, gradScale)) {
      rotary.reach(length);
      if (microBatch != null) {
        microBatch.close();
      }
      microBatch = new MicroBatch(chunks.getFirst(), backend, batch, length, gradScale);
    }
    microBatch.run(ids, targets);
  }

  /** Begins a sum of losses. */
  public void resetLoss() {
    chunks.forEach(Chunk::resetLoss);
  }

  /**
   * The cross-entropy in nats of the micro-batches since {@link #resetLoss}, summed over the
   * targets that count; 0 without the last layer. Waits for them.
   */
  public double loss() {
    return chunks.getLast().loss();
  }

  /** All parameters of this rank, in the order in which backward is done with them. */
  public List<Parameter> parametersFromTheEnd() {
    return chunks.reversed().stream().flatMap(c -> c.parametersFromTheEnd().stream()).toList();
  }

  /**
   * The cross-entropy in nats, summed over the targets that are not negative; the same on every
   * stage. The stages call it together.
   */
  public double forwardLoss(int[] ids, int[] targets, int batch, int length) {
    double[] loss = new double[1];
    rotary.reach(length);
    resetLoss();
    try (Arena.Scope _ = backend.arena().open()) {
      Tokens tokens = Tokens.sequences(backend, ids, batch, length, false);
      Tensor x_TH = through(Indices.of(ids), (i, x) -> blocks.get(i).forward(x, tokens));
      if (x_TH != null) {
        chunks.getLast().addLoss(x_TH, targets);
        loss[0] = loss();
      }
    }
    place.pipeline().allReduceSum(loss);
    return loss[0];
  }

  /**
   * Logits of every position, a new tensor [batch · length, V], the same on every stage. The stages
   * call it together.
   */
  public Tensor logits(int[] ids, int batch, int length) {
    Tensor logits_TV = backend.zeros(ids.length, config.vocabSize());
    rotary.reach(length);
    try (Arena.Scope _ = backend.arena().open()) {
      Tokens tokens = Tokens.sequences(backend, ids, batch, length, false);
      Tensor x_TH = through(Indices.of(ids), (i, x) -> blocks.get(i).forward(x, tokens));
      fromLastStage(x_TH, logits_TV);
    }
    return logits_TV;
  }

  /** One of this rank's blocks, by its place among them, on rows of the hidden width. */
  @FunctionalInterface
  private interface Through {
    Tensor block(int i, Tensor x_TH);
  }

  /**
   * Takes tokens through the whole model, stage by stage.
   *
   * @return the last layer's output on the last stage, null on the others
   */
  private Tensor through(Indices ids, Through through) {
    Tensor x_TH = null;
    int at = 0;
    int last = place.layout().chunks() - 1;
    for (int c = 0; c < chunks.size(); c++) {
      int chunk = place.chunks().get(c);
      if (chunk == 0) {
        x_TH = chunks.getFirst().embed(ids);
      } else if (place.stages() > 1) {
        x_TH = backend.arena().take(ids.size(), config.hiddenSize());
        place.pipeline().receive(place.stageOf(chunk - 1), StagePlace.activationsInto(chunk), x_TH);
      }
      for (Block _ : chunks.get(c).blocks()) {
        x_TH = through.block(at++, x_TH);
      }
      if (chunk == last) {
        return x_TH;
      }
      if (place.stages() > 1) {
        int next = chunk + 1;
        place.pipeline().send(place.stageOf(next), StagePlace.activationsInto(next), x_TH);
      }
    }
    return null;
  }

  /** Logits of the last layer's output, brought from the last stage to the others. */
  private void fromLastStage(Tensor x_TH, Tensor logits_TV) {
    if (x_TH != null) {
      backend.copy(chunks.getLast().logits(x_TH), logits_TV);
    }
    if (place.stages() > 1) {
      place.pipeline().broadcast(logits_TV, place.stageOf(place.layout().chunks() - 1));
    }
  }

  /** An empty cache for {@code batch} sequences of at most {@code positions} tokens. */
  public LatentCache newCache(int batch, int positions) {
    rotary.reach(positions);
    return new LatentCache(config, blocks.size(), backend, batch, positions);
  }

  /**
   * Runs one token of each sequence, and adds it to the cache. The stages call it together.
   *
   * @param ids one token for each sequence of the cache
   * @param logits_BV receives the logits of the next token
   */
  public void step(int[] ids, LatentCache cache, Tensor logits_BV) {
    if (ids.length != cache.batch() || cache.filled() == cache.positions()) {
      throw new IllegalArgumentException(
          "%d tokens for a cache of %d sequences with %d of %d positions filled"
              .formatted(ids.length, cache.batch(), cache.filled(), cache.positions()));
    }
    Vocabulary.requireTokens(ids, config.vocabSize()); // work that is repeated looks at none
    cache.put(ids);
    if (place.stages() == 1 && !sharesExperts) {
      cache.repeat(() -> step(cache, cache.logits_BV()));
      backend.copy(cache.logits_BV(), logits_BV);
    } else {
      step(cache, logits_BV);
    }
    cache.advance();
  }

  private void step(LatentCache cache, Tensor logits_BV) {
    try (Arena.Scope _ = backend.arena().open()) {
      Tensor x_BH = through(cache.ids(), (i, x) -> blocks.get(i).step(x, cache, i));
      fromLastStage(x_BH, logits_BV);
    }
  }

  /**
   * What training saw since the last reset, on this rank.
   *
   * @param maxLogit [layer][head] largest attention logit over the allowed pairs; −∞ before the
   *     first pass, and for the layers of other stages
   * @param tokensPerExpert [MoE layer][expert of the model] tokens that chose it; 0 for the layers
   *     of other stages
   */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  public record Statistics(float[][] maxLogit, long[][] tokensPerExpert) {}

  /** A copy of the statistics. */
  public Statistics statistics() {
    float[][] maxLogit = new float[config.numHiddenLayers()][config.numAttentionHeads()];
    for (float[] ofLayer : maxLogit) {
      Arrays.fill(ofLayer, Float.NEGATIVE_INFINITY);
    }
    int mixtures = config.numHiddenLayers() - mixture(0);
    long[][] tokensPerExpert = new long[mixtures][config.nRoutedExperts()];
    for (int i = 0; i < blocks.size(); i++) {
      maxLogit[layers.get(i)] = blocks.get(i).attention().maxLogit();
      MoeLayer moe = blocks.get(i).mixture();
      if (moe != null) {
        tokensPerExpert[layers.get(i) - mixture(0)] = moe.tokensPerExpert();
      }
    }
    return new Statistics(maxLogit, tokensPerExpert);
  }

  /** The layer of the model's mixture {@code k}. */
  private int mixture(int k) {
    return k
        + (config.nRoutedExperts() == 0 ? config.numHiddenLayers() : config.firstKDenseReplace());
  }

  /**
   * The routers' biases of this rank's layers, by the mixture's place in the model, as in {@link
   * Statistics#tokensPerExpert}.
   */
  public SequencedMap<Integer, Tensor> routerBiases() {
    SequencedMap<Integer, Tensor> biases = new LinkedHashMap<>();
    for (int i = 0; i < blocks.size(); i++) {
      MoeLayer moe = blocks.get(i).mixture();
      if (moe != null) {
        biases.put(layers.get(i) - mixture(0), moe.bias());
      }
    }
    return biases;
  }

  /** Forgets the statistics. */
  public void resetStatistics() {
    for (Block block : blocks) {
      block.attention().resetMaxLogit();
      if (block.mixture() != null) {
        block.mixture().resetTokensPerExpert();
      }
    }
  }

  /**
   * The projections of one layer that QK-Clip scales.
   *
   * @param query {@code q_b_proj} or {@code q_proj}; rows of a head: nope, rope
   * @param keyValue {@code kv_b_proj}; rows of a head: key nope, value
   */
  public record QkProjections(
      int layer, int heads, int nope, int rope, int value, Parameter query, Parameter keyValue) {}

  /** The projections that QK-Clip scales of this rank's layers, in their order. */
  public List<QkProjections> qkProjections() {
    List<QkProjections> found = new ArrayList<>();
    String queryName = config.qLoraRank() > 0 ? "q_b_proj" : "q_proj";
    for (int layer : layers) {
      String prefix = "model.layers." + layer + ".self_attn.";
      found.add(
          new QkProjections(
              layer,
              config.numAttentionHeads(),
              config.qkNopeHeadDim(),
              config.qkRopeHeadDim(),
              config.vHeadDim(),
              parameter(prefix + queryName + ".weight"),
              parameter(prefix + "kv_b_proj.weight")));
    }
    return found;
  }

  /** The parameter of that name on this rank. */
  public Parameter parameter(String name) {
    return parameters().stream()
        .filter(p -> p.name().equals(name))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException("no parameter " + name));
  }

  /** This rank's chunks, in the order of the model. */
  public List<Chunk> chunks() {
    return chunks;
  }

  /** Whether other ranks hold some of the routed experts of this rank's layers. */
  public boolean sharesExperts() {
    return sharesExperts;
  }

  /** Which part of the model this is. */
  public StagePlace place() {
    return place;
  }

  /** What it computes with. */
  public Backend backend() {
    return backend;
  }
}
