package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

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
 * <p>T = batch · length tokens, H hidden, V vocabulary. One model belongs to one rank's thread;
 * with expert parallelism the ranks of the group make the same calls together.
 */
public final class Model {
  private static final Pattern EXPERT =
      Pattern.compile(
          "model\\.layers\\.(\\d+)\\.mlp\\.experts\\.(\\d+)\\.(gate|up|down)_proj\\.weight");
  private static final Pattern LAYER = Pattern.compile("model\\.layers\\.(\\d+)\\..*");

  private final ModelConfig config;
  private final Backend backend;
  private final ParameterStore store;
  private final Rotary rotary;
  private final Weight embedding_VH;
  private final List<Block> blocks = new ArrayList<>();
  private final List<List<Parameter>> parametersOfBlocks = new ArrayList<>();
  private final List<Parameter> parametersOfHead;
  private final RmsNorm finalNorm;
  private final Linear head;

  private Model(ModelConfig config, Backend backend, Collectives expertGroup) {
    this.config = config;
    this.backend = backend;
    store = new ParameterStore(backend);
    rotary = new Rotary(config, backend);
    int v = config.vocabSize();
    int h = config.hiddenSize();
    embedding_VH = store.table("model.embed_tokens.weight", v, h);
    for (int layer = 0; layer < config.numHiddenLayers(); layer++) {
      int first = store.parameters().size();
      blocks.add(new Block(layer, config, rotary, backend, expertGroup, store));
      parametersOfBlocks.add(
          List.copyOf(store.parameters().subList(first, store.parameters().size())));
    }
    int first = store.parameters().size();
    finalNorm = new RmsNorm(backend, store.gains("model.norm.weight", h), config.rmsNormEps());
    head =
        new Linear(
            backend,
            config.tieWordEmbeddings() ? embedding_VH : store.table("lm_head.weight", v, h));
    parametersOfHead =
        List.copyOf(store.parameters().subList(first, store.parameters().size()));
  }

  /**
   * A model whose weights are zero and whose norms are one.
   *
   * @param expertGroup the ranks that share the routed experts; this one holds the block of its
   *     index
   * @throws IllegalArgumentException when the shape is not valid, or its experts do not divide
   */
  public static Model create(ModelConfig config, Backend backend, Collectives expertGroup) {
    List<String> problems = new ArrayList<>(config.problems());
    if (config.nRoutedExperts() % expertGroup.size() != 0) {
      problems.add(
          "%d routed experts do not divide over %d ranks"
              .formatted(config.nRoutedExperts(), expertGroup.size()));
    }
    if (!problems.isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", problems));
    }
    return new Model(config, backend, expertGroup);
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
   * Takes this rank's weights from a checkpoint. Weights of layers beyond the model's (DeepSeek's
   * multi-token prediction) are left out, as in transformers.
   *
   * @throws WeightMismatchException when a tensor is missing, unknown or of another shape
   */
  public void load(Safetensors weights) throws IOException {
    List<String> differences = new ArrayList<>();
    Set<String> known = new HashSet<>();
    for (Parameter p : parameters()) {
      compare(weights, p.name(), p.value(), differences);
      known.add(p.name());
    }
    for (Map.Entry<String, Tensor> b : buffers().entrySet()) {
      compare(weights, b.getKey(), b.getValue(), differences);
      known.add(b.getKey());
    }
    for (String name : new TreeSet<>(weights.names())) {
      if (!known.contains(name) && !belongsElsewhere(name)) {
        differences.add(name + " is not in the model");
      }
    }
    if (!differences.isEmpty()) {
      throw new WeightMismatchException(weights.path(), differences);
    }
    for (Parameter p : parameters()) {
      weights.read(p.name(), p.value());
    }
    for (Map.Entry<String, Tensor> b : buffers().entrySet()) {
      weights.read(b.getKey(), b.getValue());
    }
  }

  private static void compare(
      Safetensors weights, String name, Tensor expected, List<String> differences) {
    if (!weights.contains(name)) {
      differences.add(name + " is missing");
    } else if (!Arrays.equals(weights.shape(name), expected.shape())) {
      differences.add(
          "%s has shape %s, the model's is %s"
              .formatted(
                  name, Arrays.toString(weights.shape(name)), Arrays.toString(expected.shape())));
    }
  }

  /** Another rank's expert, a layer after the last, or a tensor that is computed or shared. */
  private boolean belongsElsewhere(String name) {
    Matcher expert = EXPERT.matcher(name);
    if (expert.matches()) {
      int layer = Integer.parseInt(expert.group(1));
      if (layer < config.numHiddenLayers()
          && config.isMoeLayer(layer)
          && Integer.parseInt(expert.group(2)) < config.nRoutedExperts()) {
        return true;
      }
    }
    Matcher layer = LAYER.matcher(name);
    return (layer.matches() && Integer.parseInt(layer.group(1)) >= config.numHiddenLayers())
        || name.endsWith("rotary_emb.inv_freq")
        || (config.tieWordEmbeddings() && name.equals("lm_head.weight"));
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
    return forwardBackward(ids, targets, batch, length, gradScale, done -> {});
  }

  /**
   * The same, for the last micro-batch of a step.
   *
   * @param done is told parameters as soon as backward is done with their gradients: the head and
   *     the last norm, each layer from the last to the first, the embedding
   */
  public double forwardBackward(
      int[] ids,
      int[] targets,
      int batch,
      int length,
      double gradScale,
      Consumer<List<Parameter>> done) {
    try (Arena.Scope _ = backend.arena().open()) {
      Tokens tokens = tokens(ids, batch, length, true);
      Forward f = forward(ids, tokens);
      Tensor logits_TV = head.forward(f.normed_TH.y_TC());
      double loss = backend.crossEntropy(logits_TV, targets, (float) gradScale);

      Tensor dnormed_TH = head.backwardInput(logits_TV);
      head.backwardWeight(logits_TV, f.normed_TH.y_TC());
      Tensor d_TH = finalNorm.backwardInput(f.normed_TH, dnormed_TH);
      finalNorm.backwardWeight(f.normed_TH, dnormed_TH);
      done.accept(parametersOfHead);
      for (int layer = blocks.size() - 1; layer >= 0; layer--) {
        blocks.get(layer).backward(f.passes.get(layer), d_TH);
        done.accept(parametersOfBlocks.get(layer));
      }
      backend.embeddingBackward(ids, d_TH, embedding_VH.gradient());
      done.accept(List.of(store.parameters().getFirst()));
      return loss;
    }
  }

  /** The cross-entropy in nats, summed over the targets that are not negative. */
  public double forwardLoss(int[] ids, int[] targets, int batch, int length) {
    try (Arena.Scope _ = backend.arena().open()) {
      Forward f = forward(ids, tokens(ids, batch, length, false));
      return backend.crossEntropy(head.forward(f.normed_TH.y_TC()), targets, 0);
    }
  }

  /** Logits of every position, a new tensor [batch · length, V]. */
  public Tensor logits(int[] ids, int batch, int length) {
    Tensor logits_TV = backend.zeros(ids.length, config.vocabSize());
    try (Arena.Scope _ = backend.arena().open()) {
      Forward f = forward(ids, tokens(ids, batch, length, false));
      backend.copy(head.forward(f.normed_TH.y_TC()), logits_TV);
    }
    return logits_TV;
  }

  private record Forward(List<Block.Pass> passes, RmsNorm.Output normed_TH) {}

  private Forward forward(int[] ids, Tokens tokens) {
    rotary.reach(tokens.length());
    Tensor x_TH = backend.arena().take(ids.length, config.hiddenSize());
    backend.embedding(ids, embedding_VH.value(), x_TH);
    List<Block.Pass> passes = new ArrayList<>();
    for (Block block : blocks) {
      Block.Pass pass = block.forward(x_TH, tokens);
      passes.add(pass);
      x_TH = pass.y_TH();
    }
    return new Forward(passes, finalNorm.forward(x_TH));
  }

  private static Tokens tokens(int[] ids, int batch, int length, boolean recording) {
    if (batch < 0 || length < 1 || ids.length != batch * length) {
      throw new IllegalArgumentException(
          "%d tokens for %d sequences of %d".formatted(ids.length, batch, length));
    }
    return Tokens.sequences(batch, length, recording);
  }

  /** An empty cache for {@code batch} sequences of at most {@code positions} tokens. */
  public LatentCache newCache(int batch, int positions) {
    rotary.reach(positions);
    return new LatentCache(config, backend, batch, positions);
  }

  /**
   * Runs one token of each sequence, and adds it to the cache.
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
    try (Arena.Scope _ = backend.arena().open()) {
      Tokens tokens = Tokens.step(ids.length, cache.filled());
      Tensor x_BH = backend.arena().take(ids.length, config.hiddenSize());
      backend.embedding(ids, embedding_VH.value(), x_BH);
      for (int layer = 0; layer < blocks.size(); layer++) {
        x_BH = blocks.get(layer).step(x_BH, tokens, cache.layer_BPC(layer));
      }
      backend.copy(head.forward(finalNorm.forward(x_BH).y_TC()), logits_BV);
    }
    cache.advance();
  }

  /**
   * What forwardBackward saw since the last reset, on this rank.
   *
   * @param maxLogit [layer][head] largest attention logit over the allowed pairs, −∞ before the
   *     first pass
   * @param tokensPerExpert [MoE layer][expert of the model] tokens that chose it
   */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  public record Statistics(float[][] maxLogit, long[][] tokensPerExpert) {}

  /** A copy of the statistics. */
  public Statistics statistics() {
    return new Statistics(
        blocks.stream().map(b -> b.attention().maxLogit()).toArray(float[][]::new),
        moeLayers().stream().map(MoeLayer::tokensPerExpert).toArray(long[][]::new));
  }

  /** Forgets the statistics. */
  public void resetStatistics() {
    blocks.forEach(b -> b.attention().resetMaxLogit());
    moeLayers().forEach(MoeLayer::resetTokensPerExpert);
  }

  private List<MoeLayer> moeLayers() {
    List<MoeLayer> layers = new ArrayList<>();
    for (Block block : blocks) {
      if (block.feedForward() instanceof MoeLayer moe) {
        layers.add(moe);
      }
    }
    return layers;
  }

  /**
   * The projections of one layer that QK-Clip scales.
   *
   * @param query {@code q_b_proj} or {@code q_proj}; rows of a head: nope, rope
   * @param keyValue {@code kv_b_proj}; rows of a head: key nope, value
   */
  public record QkProjections(
      int layer, int heads, int nope, int rope, int value, Parameter query, Parameter keyValue) {}

  /** Every layer's projections that QK-Clip scales, in the order of the layers. */
  public List<QkProjections> qkProjections() {
    List<QkProjections> found = new ArrayList<>();
    String queryName = config.qLoraRank() > 0 ? "q_b_proj" : "q_proj";
    for (int layer = 0; layer < blocks.size(); layer++) {
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

  /** What it computes with. */
  public Backend backend() {
    return backend;
  }
}
