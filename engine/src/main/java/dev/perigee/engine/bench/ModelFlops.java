package dev.perigee.engine.bench;

import dev.perigee.run.ModelConfig;

/**
 * Floating-point operations that a model's matrix products need, two for each multiply and add.
 * Only what has to be computed counts: chosen experts, allowed pairs of attention, and nothing
 * twice.
 */
public final class ModelFlops {
  private ModelFlops() {}

  /** Of the forward pass over one sequence. */
  public static double forward(ModelConfig c, int length) {
    double h = c.hiddenSize();
    double heads = c.numAttentionHeads();
    double query =
        c.qLoraRank() > 0 ? c.qLoraRank() * (h + heads * c.qkHeadDim()) : h * heads * c.qkHeadDim();
    double latent = h * (c.kvLoraRank() + c.qkRopeHeadDim());
    double keyValue = c.kvLoraRank() * heads * (c.qkNopeHeadDim() + c.vHeadDim());
    double output = heads * c.vHeadDim() * h;
    double pairs = (length + 1) / 2.0 * heads * (c.qkHeadDim() + c.vHeadDim());
    double attention = query + latent + keyValue + output + pairs;
    double experts = c.numExpertsPerTok() + c.nSharedExperts();
    double moe = h * c.nRoutedExperts() + experts * 3 * h * c.moeIntermediateSize();
    double dense = 3 * h * c.intermediateSize();
    double perToken = h * c.vocabSize();
    for (int layer = 0; layer < c.numHiddenLayers(); layer++) {
      perToken += attention + (c.isMoeLayer(layer) ? moe : dense);
    }
    return 2 * perToken * length;
  }

  /** Of forward and backward over one sequence: the backward pass needs twice the forward's. */
  public static double training(ModelConfig c, int length) {
    return 3 * forward(c, length);
  }
}
