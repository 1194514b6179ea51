package dev.perigee.run;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonInclude;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;

/**
 * The shape of a DeepSeek-V3 or Kimi-K2 model. Names are those of Hugging Face's {@code
 * config.json} in camel case; the engine reads and writes that file.
 *
 * @param vocabSize rows of the embedding and of the head
 * @param hiddenSize width of the residual stream
 * @param intermediateSize width of a dense layer's feed-forward part
 * @param moeIntermediateSize width of one expert
 * @param numHiddenLayers layers
 * @param firstKDenseReplace layers at the front with a dense feed-forward part in place of experts
 * @param numAttentionHeads attention heads
 * @param qLoraRank rank of the query's low-rank projection; 0 for a full one
 * @param kvLoraRank rank of the latent that keys and values come from
 * @param qkNopeHeadDim part of a head's query and key without position
 * @param qkRopeHeadDim part with rotary position; even
 * @param vHeadDim a head's value
 * @param nRoutedExperts routed experts of a layer; 0 only when every layer is dense
 * @param numExpertsPerTok routed experts that a token goes to
 * @param nSharedExperts experts that every token goes to
 * @param nGroup groups of experts of DeepSeek-V3's routing; 1 for none
 * @param topkGroup groups that a token may choose experts from
 * @param routedScalingFactor factor on the routed experts' sum
 * @param normTopkProb whether the chosen experts' weights are made to sum to one
 * @param ropeTheta base of the rotary frequencies
 * @param ropeScaling YaRN, or null for none
 * @param maxPositionEmbeddings longest context
 * @param rmsNormEps ε of RMSNorm
 * @param initializerRange standard deviation of random initial weights
 * @param tieWordEmbeddings whether the head shares the embedding's weights
 */
@JsonInclude(JsonInclude.Include.NON_NULL)
public record ModelConfig(
    int vocabSize,
    int hiddenSize,
    int intermediateSize,
    int moeIntermediateSize,
    int numHiddenLayers,
    int firstKDenseReplace,
    int numAttentionHeads,
    int qLoraRank,
    int kvLoraRank,
    int qkNopeHeadDim,
    int qkRopeHeadDim,
    int vHeadDim,
    int nRoutedExperts,
    int numExpertsPerTok,
    int nSharedExperts,
    int nGroup,
    int topkGroup,
    double routedScalingFactor,
    boolean normTopkProb,
    double ropeTheta,
    Yarn ropeScaling,
    int maxPositionEmbeddings,
    double rmsNormEps,
    double initializerRange,
    boolean tieWordEmbeddings) {
  private static final int MOST_LAYERS = 10_000;
  private static final int MOST_EXPERTS = 65_536;

  /**
   * YaRN, the stretching of rotary frequencies to longer contexts.
   *
   * @param factor how many times longer
   * @param originalMaxPositionEmbeddings the context before
   * @param betaFast rotations above which a frequency is kept
   * @param betaSlow rotations below which it is divided by {@code factor}
   * @param mscale numerator of the factor on cos and sin
   * @param mscaleAllDim its denominator, and the factor squared into the softmax scale
   */
  public record Yarn(
      double factor,
      int originalMaxPositionEmbeddings,
      double betaFast,
      double betaSlow,
      double mscale,
      double mscaleAllDim) {}

  /** Width of a head's query and key. */
  @JsonIgnore
  public int qkHeadDim() {
    return qkNopeHeadDim + qkRopeHeadDim;
  }

  /** Whether a layer has routed experts. */
  public boolean isMoeLayer(int layer) {
    return nRoutedExperts > 0 && layer >= firstKDenseReplace;
  }

  /** All parameters. */
  @JsonIgnore
  public long totalParameters() {
    return parameters(nRoutedExperts);
  }

  /** Parameters that one token uses, embedding and head included. */
  @JsonIgnore
  public long activeParameters() {
    return parameters(numExpertsPerTok);
  }

  private long parameters(long experts) {
    long h = hiddenSize;
    long heads = numAttentionHeads;
    long query =
        qLoraRank > 0
            ? h * qLoraRank + qLoraRank + qLoraRank * heads * qkHeadDim()
            : h * heads * qkHeadDim();
    long attention =
        query
            + h * (kvLoraRank + qkRopeHeadDim)
            + kvLoraRank
            + kvLoraRank * heads * (qkNopeHeadDim + vHeadDim)
            + heads * vHeadDim * h;
    long expert = 3 * h * moeIntermediateSize;
    long moe = nRoutedExperts * h + nRoutedExperts + (experts + nSharedExperts) * expert;
    long dense = 3 * h * intermediateSize;
    long sum = vocabSize * h * (tieWordEmbeddings ? 1 : 2) + h;
    for (int layer = 0; layer < numHiddenLayers; layer++) {
      sum += attention + 2 * h + (isMoeLayer(layer) ? moe : dense);
    }
    return sum;
  }

  /** What is wrong with this shape, one line each, naming the field; empty when nothing is. */
  @JsonIgnore
  public List<String> problems() {
    List<String> found = new ArrayList<>();
    positive(found, "vocabSize", vocabSize);
    positive(found, "hiddenSize", hiddenSize);
    // As in spec.model: a program counts layers and experts long before it notices that no memory
    // holds them.
    require(
        found,
        numHiddenLayers >= 1 && numHiddenLayers <= MOST_LAYERS,
        "numHiddenLayers",
        numHiddenLayers,
        "1 to " + MOST_LAYERS);
    positive(found, "numAttentionHeads", numAttentionHeads);
    positive(found, "kvLoraRank", kvLoraRank);
    positive(found, "qkNopeHeadDim", qkNopeHeadDim);
    positive(found, "qkRopeHeadDim", qkRopeHeadDim);
    positive(found, "vHeadDim", vHeadDim);
    positive(found, "maxPositionEmbeddings", maxPositionEmbeddings);
    require(found, qLoraRank >= 0, "qLoraRank", qLoraRank, "0 (a full projection) or more");
    require(found, qkRopeHeadDim % 2 == 0, "qkRopeHeadDim", qkRopeHeadDim, "an even number");
    require(
        found,
        firstKDenseReplace >= 0 && firstKDenseReplace <= numHiddenLayers,
        "firstKDenseReplace",
        firstKDenseReplace,
        "0 to numHiddenLayers " + numHiddenLayers);
    if (firstKDenseReplace > 0 || nRoutedExperts == 0) {
      positive(found, "intermediateSize", intermediateSize);
    }
    require(
        found,
        nRoutedExperts >= 0 && nRoutedExperts <= MOST_EXPERTS,
        "nRoutedExperts",
        nRoutedExperts,
        "0 to " + MOST_EXPERTS);
    require(found, nSharedExperts >= 0, "nSharedExperts", nSharedExperts, "0 or more");
    if (nRoutedExperts > 0) {
      positive(found, "moeIntermediateSize", moeIntermediateSize);
      positive(found, "nGroup", nGroup);
      require(
          found,
          numExpertsPerTok >= 1 && numExpertsPerTok <= nRoutedExperts,
          "numExpertsPerTok",
          numExpertsPerTok,
          "1 to nRoutedExperts " + nRoutedExperts);
      if (nGroup >= 1) {
        require(
            found,
            nRoutedExperts % nGroup == 0,
            "nGroup",
            nGroup,
            "a divisor of nRoutedExperts " + nRoutedExperts);
        require(
            found,
            topkGroup >= 1 && topkGroup <= nGroup,
            "topkGroup",
            topkGroup,
            "1 to nGroup " + nGroup);
        require(
            found,
            (long) topkGroup * (nRoutedExperts / nGroup) >= numExpertsPerTok,
            "topkGroup",
            topkGroup,
            "enough groups to hold numExpertsPerTok " + numExpertsPerTok + " experts");
      }
    }
    double heads = numAttentionHeads;
    double hidden = hiddenSize;
    matrix(found, "vocabSize × hiddenSize", vocabSize * hidden);
    matrix(found, "intermediateSize × hiddenSize", intermediateSize * hidden);
    matrix(found, "moeIntermediateSize × hiddenSize", moeIntermediateSize * hidden);
    matrix(
        found,
        "nSharedExperts × moeIntermediateSize × hiddenSize",
        (double) nSharedExperts * moeIntermediateSize * hidden);
    matrix(found, "nRoutedExperts × hiddenSize", nRoutedExperts * hidden);
    matrix(
        found,
        "numAttentionHeads × (qkNopeHeadDim + qkRopeHeadDim) × "
            + (qLoraRank > 0 ? "qLoraRank" : "hiddenSize"),
        heads * ((double) qkNopeHeadDim + qkRopeHeadDim) * (qLoraRank > 0 ? qLoraRank : hidden));
    matrix(found, "qLoraRank × hiddenSize", qLoraRank * hidden);
    matrix(
        found,
        "(kvLoraRank + qkRopeHeadDim) × hiddenSize",
        ((double) kvLoraRank + qkRopeHeadDim) * hidden);
    matrix(
        found,
        "numAttentionHeads × (qkNopeHeadDim + vHeadDim) × kvLoraRank",
        heads * ((double) qkNopeHeadDim + vHeadDim) * kvLoraRank);
    matrix(found, "hiddenSize × numAttentionHeads × vHeadDim", hidden * heads * vHeadDim);
    if (nRoutedExperts > 0) {
      above(found, "routedScalingFactor", routedScalingFactor, 0, 1e6);
    }
    above(found, "ropeTheta", ropeTheta, 1, 1e12);
    above(found, "rmsNormEps", rmsNormEps, 0, 1);
    above(found, "initializerRange", initializerRange, 0, 100);
    if (ropeScaling != null) {
      within(found, "ropeScaling.factor", ropeScaling.factor(), 1, 1e6);
      positive(
          found,
          "ropeScaling.originalMaxPositionEmbeddings",
          ropeScaling.originalMaxPositionEmbeddings());
      above(found, "ropeScaling.betaFast", ropeScaling.betaFast(), 0, 1e6);
      above(found, "ropeScaling.betaSlow", ropeScaling.betaSlow(), 0, 1e6);
      within(found, "ropeScaling.mscale", ropeScaling.mscale(), 0, 1e3);
      within(found, "ropeScaling.mscaleAllDim", ropeScaling.mscaleAllDim(), 0, 1e3);
    }
    return found;
  }

  /** A weight is one array, whose length is an int. */
  private static void matrix(List<String> found, String sides, double numbers) {
    if (numbers > Integer.MAX_VALUE) {
      found.add(
          "model.%s: %.0f numbers; expected at most %d in one matrix"
              .formatted(sides, numbers, Integer.MAX_VALUE));
    }
  }

  private static void positive(List<String> found, String field, int value) {
    require(found, value >= 1, field, value, "1 or more");
  }

  /** The limits are those of the same fields in {@code spec.model}. */
  private static void above(
      List<String> found, String field, double value, double least, double most) {
    String expected = "more than %s and at most %s".formatted(plain(least), plain(most));
    require(found, value > least && value <= most, field, value, expected);
  }

  private static void within(
      List<String> found, String field, double value, double least, double most) {
    String expected = plain(least) + " to " + plain(most);
    require(found, value >= least && value <= most, field, value, expected);
  }

  private static String plain(double limit) {
    return BigDecimal.valueOf(limit).stripTrailingZeros().toPlainString();
  }

  private static void require(
      List<String> found, boolean holds, String field, Number value, String expected) {
    if (!holds) {
      found.add("model." + field + ": " + value + "; expected " + expected);
    }
  }
}
