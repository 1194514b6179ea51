package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import dev.perigee.run.ModelConfig;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.ValidationRule;

/**
 * The shape of a DeepSeek-V3 or Kimi-K2 model: {@link ModelConfig} with the bounds, defaults and
 * rules of the schema. Names are those of Hugging Face's {@code config.json} in camel case.
 */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "self.qkRopeHeadDim % 2 == 0",
    message = "model.config.qkRopeHeadDim: must be even, because rotary position turns pairs",
    fieldPath = ".qkRopeHeadDim")
@ValidationRule(
    value = "self.qLoraRank <= self.hiddenSize",
    message = "model.config.qLoraRank: must not be more than hiddenSize; 0 is a full projection",
    fieldPath = ".qLoraRank")
@ValidationRule(
    value = "self.kvLoraRank <= self.hiddenSize",
    message = "model.config.kvLoraRank: must not be more than hiddenSize",
    fieldPath = ".kvLoraRank")
@ValidationRule(
    value = "self.firstKDenseReplace <= self.numHiddenLayers",
    message = "model.config.firstKDenseReplace: must not be more than numHiddenLayers",
    fieldPath = ".firstKDenseReplace")
@ValidationRule(
    value =
        "(self.firstKDenseReplace == 0 && self.nRoutedExperts > 0) || self.intermediateSize > 0",
    message =
        "model.config.intermediateSize: must be given, because the model has dense layers"
            + " (firstKDenseReplace > 0 or nRoutedExperts 0)",
    fieldPath = ".intermediateSize")
@ValidationRule(
    value = "self.nRoutedExperts == 0 || self.moeIntermediateSize > 0",
    message = "model.config.moeIntermediateSize: must be given, because the model has experts",
    fieldPath = ".moeIntermediateSize")
@ValidationRule(
    value =
        "self.nRoutedExperts == 0 || (self.numExpertsPerTok >= 1 && self.numExpertsPerTok <="
            + " self.nRoutedExperts)",
    message = "model.config.numExpertsPerTok: must be 1 to nRoutedExperts",
    fieldPath = ".numExpertsPerTok")
@ValidationRule(
    value = "self.nRoutedExperts % self.nGroup == 0",
    message = "model.config.nGroup: must divide nRoutedExperts; 1 is no groups",
    fieldPath = ".nGroup")
@ValidationRule(
    value = "self.topkGroup <= self.nGroup",
    message = "model.config.topkGroup: must not be more than nGroup",
    fieldPath = ".topkGroup")
@ValidationRule(
    value =
        "self.nRoutedExperts % self.nGroup != 0 || self.numExpertsPerTok > self.nRoutedExperts ||"
            + " self.topkGroup * (self.nRoutedExperts / self.nGroup) >= self.numExpertsPerTok",
    message =
        "model.config.topkGroup: too few groups to hold numExpertsPerTok experts; raise topkGroup",
    fieldPath = ".topkGroup")
public record ModelShape(
    @JsonPropertyDescription("Rows of the embedding and of the head.")
        @Required
        @Min(1)
        @Max(10000000)
        Integer vocabSize,
    @JsonPropertyDescription("Width of the residual stream.") @Required @Min(1) @Max(1000000)
        Integer hiddenSize,
    @JsonPropertyDescription("Width of a dense layer's feed-forward part.")
        @Default("0")
        @Min(0)
        @Max(1000000)
        Integer intermediateSize,
    @JsonPropertyDescription("Width of one expert.") @Default("0") @Min(0) @Max(1000000)
        Integer moeIntermediateSize,
    @JsonPropertyDescription("Layers.") @Required @Min(1) @Max(10000) Integer numHiddenLayers,
    @JsonPropertyDescription(
            "Layers at the front with a dense feed-forward part in place of experts.")
        @Default("1")
        @Min(0)
        @Max(10000)
        Integer firstKDenseReplace,
    @JsonPropertyDescription("Attention heads.") @Required @Min(1) @Max(10000)
        Integer numAttentionHeads,
    @JsonPropertyDescription("Rank of the query's low-rank projection; 0 for a full one.")
        @Default("0")
        @Min(0)
        @Max(1000000)
        Integer qLoraRank,
    @JsonPropertyDescription("Rank of the latent that keys and values come from.")
        @Required
        @Min(1)
        @Max(1000000)
        Integer kvLoraRank,
    @JsonPropertyDescription("Part of a head's query and key without position.")
        @Required
        @Min(1)
        @Max(100000)
        Integer qkNopeHeadDim,
    @JsonPropertyDescription("Part of a head's query and key with rotary position; even.")
        @Required
        @Min(2)
        @Max(100000)
        Integer qkRopeHeadDim,
    @JsonPropertyDescription("A head's value.") @Required @Min(1) @Max(100000) Integer vHeadDim,
    @JsonPropertyDescription("Routed experts of a layer; 0 for a dense model.")
        @Required
        @Min(0)
        @Max(65536)
        Integer nRoutedExperts,
    @JsonPropertyDescription("Routed experts that a token goes to.")
        @Default("0")
        @Min(0)
        @Max(1024)
        Integer numExpertsPerTok,
    @JsonPropertyDescription("Experts that every token goes to.") @Default("0") @Min(0) @Max(1024)
        Integer nSharedExperts,
    @JsonPropertyDescription("Groups of experts of DeepSeek-V3's routing; 1 for none.")
        @Default("1")
        @Min(1)
        @Max(65536)
        Integer nGroup,
    @JsonPropertyDescription("Groups that a token may choose experts from.")
        @Default("1")
        @Min(1)
        @Max(65536)
        Integer topkGroup,
    @JsonPropertyDescription("Factor on the sum of the routed experts.")
        @Default("1")
        @Min(value = 0, inclusive = false)
        @Max(1e6)
        Double routedScalingFactor,
    @JsonPropertyDescription("Whether the chosen experts' weights are made to sum to one.")
        @Default("true")
        Boolean normTopkProb,
    @JsonPropertyDescription("Base of the rotary frequencies.")
        @Default("10000")
        @Min(value = 1, inclusive = false)
        @Max(1e12)
        Double ropeTheta,
    @JsonPropertyDescription("YaRN, the stretching of rotary frequencies; absent for none.")
        Yarn ropeScaling,
    @JsonPropertyDescription("Longest context.") @Default("4096") @Min(2) @Max(100000000)
        Integer maxPositionEmbeddings,
    @JsonPropertyDescription("ε of RMSNorm.")
        @Default("1e-6")
        @Min(value = 0, inclusive = false)
        @Max(1)
        Double rmsNormEps,
    @JsonPropertyDescription("Standard deviation of random first weights.")
        @Default("0.02")
        @Min(value = 0, inclusive = false)
        @Max(100)
        Double initializerRange,
    @JsonPropertyDescription("Whether the head shares the embedding's weights.") @Default("false")
        Boolean tieWordEmbeddings) {

  /** YaRN, the stretching of rotary frequencies to longer contexts. */
  public record Yarn(
      @JsonPropertyDescription("How many times longer.") @Required @Min(1) @Max(1e6) Double factor,
      @JsonPropertyDescription("The context before.") @Required @Min(1) @Max(100000000)
          Integer originalMaxPositionEmbeddings,
      @JsonPropertyDescription("Rotations above which a frequency is kept.")
          @Default("32")
          @Min(value = 0, inclusive = false)
          @Max(1e6)
          Double betaFast,
      @JsonPropertyDescription("Rotations below which a frequency is divided by factor.")
          @Default("1")
          @Min(value = 0, inclusive = false)
          @Max(1e6)
          Double betaSlow,
      @JsonPropertyDescription("Numerator of the factor on cosine and sine.")
          @Default("1")
          @Min(0)
          @Max(1e3)
          Double mscale,
      @JsonPropertyDescription(
              "Denominator of that factor; its own factor is squared into the softmax scale.")
          @Default("1")
          @Min(0)
          @Max(1e3)
          Double mscaleAllDim) {}

  /** The same shape as the programs read it. */
  public ModelConfig toConfig() {
    return new ModelConfig(
        vocabSize,
        hiddenSize,
        intermediateSize,
        moeIntermediateSize,
        numHiddenLayers,
        firstKDenseReplace,
        numAttentionHeads,
        qLoraRank,
        kvLoraRank,
        qkNopeHeadDim,
        qkRopeHeadDim,
        vHeadDim,
        nRoutedExperts,
        numExpertsPerTok,
        nSharedExperts,
        nGroup,
        topkGroup,
        routedScalingFactor,
        normTopkProb,
        ropeTheta,
        ropeScaling == null
            ? null
            : new ModelConfig.Yarn(
                ropeScaling.factor,
                ropeScaling.originalMaxPositionEmbeddings,
                ropeScaling.betaFast,
                ropeScaling.betaSlow,
                ropeScaling.mscale,
                ropeScaling.mscaleAllDim),
        maxPositionEmbeddings,
        rmsNormEps,
        initializerRange,
        tieWordEmbeddings);
  }
}
