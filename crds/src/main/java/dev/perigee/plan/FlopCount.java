package dev.perigee.plan;

import dev.perigee.run.ModelConfig;

/**
 * Floating-point operations that the matrix products of a forward pass need for one token, two for
 * each multiply and add. Only what has to be computed counts: chosen experts, allowed pairs of
 * attention, and nothing twice. The backward pass needs twice as much, half of it for the gradients
 * of inputs and half for those of weights; the core of attention has no weights, so its backward is
 * all gradient of inputs.
 *
 * @param projections of attention
 * @param core scores and their products with values, for the mean position of a sequence
 * @param router the choice of experts
 * @param routed the chosen experts
 * @param feedForward shared experts and dense layers
 * @param head the projection to the vocabulary
 */
public record FlopCount(
    double projections,
    double core,
    double router,
    double routed,
    double feedForward,
    double head) {

  /** Nothing. */
  public static final FlopCount NONE = new FlopCount(0, 0, 0, 0, 0, 0);

  /** Of one layer, on sequences of a length. */
  public static FlopCount layer(ModelConfig c, int layer, int length) {
    double h = c.hiddenSize();
    double heads = c.numAttentionHeads();
    double query =
        c.qLoraRank() > 0 ? c.qLoraRank() * (h + heads * c.qkHeadDim()) : h * heads * c.qkHeadDim();
    double latent = h * (c.kvLoraRank() + c.qkRopeHeadDim());
    double keyValue = c.kvLoraRank() * heads * (c.qkNopeHeadDim() + c.vHeadDim());
    double output = heads * c.vHeadDim() * h;
    double pairs = (length + 1) / 2.0 * heads * (c.qkHeadDim() + c.vHeadDim());
    double expert = 3 * h * c.moeIntermediateSize();
    boolean moe = c.isMoeLayer(layer);
    return new FlopCount(
        2 * (query + latent + keyValue + output),
        2 * pairs,
        moe ? 2 * h * c.nRoutedExperts() : 0,
        moe ? 2 * c.numExpertsPerTok() * expert : 0,
        moe ? 2 * c.nSharedExperts() * expert : 2 * 3 * h * c.intermediateSize(),
        0);
  }

  /** Of the head. */
  public static FlopCount head(ModelConfig c) {
    return new FlopCount(0, 0, 0, 0, 0, 2.0 * c.hiddenSize() * c.vocabSize());
  }

  /** Of a whole model. */
  public static FlopCount model(ModelConfig c, int length) {
    FlopCount sum = head(c);
    for (int layer = 0; layer < c.numHiddenLayers(); layer++) {
      sum = sum.plus(layer(c, layer, length));
    }
    return sum;
  }

  /** Both together. */
  public FlopCount plus(FlopCount o) {
    return new FlopCount(
        projections + o.projections,
        core + o.core,
        router + o.router,
        routed + o.routed,
        feedForward + o.feedForward,
        head + o.head);
  }

  /** Forward, for one token. */
  public double forward() {
    return projections + core + router + routed + feedForward + head;
  }

  /** Backward, for one token. */
  public double backward() {
    return 2 * forward();
  }

  /** Forward and backward, for one token. */
  public double training() {
    return 3 * forward();
  }
}
