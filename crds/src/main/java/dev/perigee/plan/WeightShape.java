package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Weights of one shape that stand in one place of a model; shapes and names are those of the
 * checkpoint (Hugging Face's {@code DeepseekV3ForCausalLM}). Everything that the planner says about
 * parameters is summed from these lists.
 *
 * @param kind what they are for
 * @param rows rows of a matrix, or the width of a vector
 * @param columns columns of a matrix, 1 for a vector
 * @param copies how many there are: one for each expert, else 1
 */
public record WeightShape(Kind kind, int rows, int columns, int copies) {

  /** What a weight is for. */
  public enum Kind {
    /** The table that tokens are looked up in. */
    EMBEDDING,
    /** The projection to the vocabulary. */
    HEAD,
    /** Projections of multi-head latent attention. */
    ATTENTION,
    /** Gains of RMSNorm. */
    NORM,
    /** The router's matrix. */
    ROUTER,
    /** The router's bias, which no gradient trains. */
    ROUTER_BIAS,
    /** One of a layer's routed experts. */
    ROUTED_EXPERT,
    /** Experts that every token goes to. */
    SHARED_EXPERT,
    /** The feed-forward part of a dense layer. */
    DENSE;

    /** Whether Muon updates it; the rest is AdamW's (Moonlight report, section 2.2). */
    public boolean muon() {
      return switch (this) {
        case ATTENTION, ROUTER, ROUTED_EXPERT, SHARED_EXPERT, DENSE -> true;
        case EMBEDDING, HEAD, NORM, ROUTER_BIAS -> false;
      };
    }

    /** Lower case, for people. */
    public String label() {
      return name().toLowerCase(Locale.ROOT).replace('_', ' ');
    }

    /** Whether a gradient trains it. */
    public boolean trained() {
      return this != ROUTER_BIAS;
    }
  }

  /** Numbers in one of them. */
  public long size() {
    return (long) rows * columns;
  }

  /** Numbers in all of them. */
  public long total() {
    return size() * copies;
  }

  /** The embedding. */
  public static WeightShape embedding(ModelConfig c) {
    return new WeightShape(Kind.EMBEDDING, c.vocabSize(), c.hiddenSize(), 1);
  }

  /** The norm after the last layer, and the head unless it is the embedding. */
  public static List<WeightShape> end(ModelConfig c) {
    List<WeightShape> shapes = new ArrayList<>();
    shapes.add(vector(Kind.NORM, c.hiddenSize()));
    if (!c.tieWordEmbeddings()) {
      shapes.add(new WeightShape(Kind.HEAD, c.vocabSize(), c.hiddenSize(), 1));
    }
    return shapes;
  }

  /**
   * The weights of a layer.
   *
   * @param experts routed experts that count: all, those of one rank, or those of one token
   */
  public static List<WeightShape> layer(ModelConfig c, int layer, int experts) {
    int h = c.hiddenSize();
    int q = c.numAttentionHeads() * c.qkHeadDim();
    List<WeightShape> shapes = new ArrayList<>();
    shapes.add(vector(Kind.NORM, h));
    if (c.qLoraRank() > 0) {
      shapes.add(new WeightShape(Kind.ATTENTION, c.qLoraRank(), h, 1));
      shapes.add(vector(Kind.NORM, c.qLoraRank()));
      shapes.add(new WeightShape(Kind.ATTENTION, q, c.qLoraRank(), 1));
    } else {
      shapes.add(new WeightShape(Kind.ATTENTION, q, h, 1));
    }
    shapes.add(new WeightShape(Kind.ATTENTION, c.kvLoraRank() + c.qkRopeHeadDim(), h, 1));
    shapes.add(vector(Kind.NORM, c.kvLoraRank()));
    int keysAndValues = c.numAttentionHeads() * (c.qkNopeHeadDim() + c.vHeadDim());
    shapes.add(new WeightShape(Kind.ATTENTION, keysAndValues, c.kvLoraRank(), 1));
    shapes.add(new WeightShape(Kind.ATTENTION, h, c.numAttentionHeads() * c.vHeadDim(), 1));
    shapes.add(vector(Kind.NORM, h));
    if (!c.isMoeLayer(layer)) {
      swiGlu(shapes, Kind.DENSE, h, c.intermediateSize(), 1);
      return shapes;
    }
    shapes.add(new WeightShape(Kind.ROUTER, c.nRoutedExperts(), h, 1));
    shapes.add(vector(Kind.ROUTER_BIAS, c.nRoutedExperts()));
    swiGlu(shapes, Kind.ROUTED_EXPERT, h, c.moeIntermediateSize(), experts);
    if (c.nSharedExperts() > 0) {
      // One network as wide as all of them, as in the checkpoint.
      swiGlu(shapes, Kind.SHARED_EXPERT, h, c.nSharedExperts() * c.moeIntermediateSize(), 1);
    }
    return shapes;
  }

  /** The whole model. */
  public static List<WeightShape> model(ModelConfig c, int experts) {
    List<WeightShape> shapes = new ArrayList<>();
    shapes.add(embedding(c));
    for (int layer = 0; layer < c.numHiddenLayers(); layer++) {
      shapes.addAll(layer(c, layer, experts));
    }
    shapes.addAll(end(c));
    return shapes;
  }

  private static WeightShape vector(Kind kind, int width) {
    return new WeightShape(kind, width, 1, 1);
  }

  private static void swiGlu(
      List<WeightShape> shapes, Kind kind, int hidden, int width, int copies) {
    shapes.add(new WeightShape(kind, width, hidden, copies));
    shapes.add(new WeightShape(kind, width, hidden, copies));
    shapes.add(new WeightShape(kind, hidden, width, copies));
  }
}
