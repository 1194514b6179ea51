package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import dev.perigee.run.RunConfig;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Size;
import java.util.List;

/**
 * How weights are updated. The defaults are the published constants: Kimi K2 report, algorithm 1,
 * and "Muon is scalable for LLM training", section 2.2.
 */
public record OptimizerSpec(
    @JsonPropertyDescription(
            "MuonClip: Muon for matrices, AdamW for norms, embedding and head, QK-Clip after the"
                + " update. AdamW: AdamW for everything, without QK-Clip.")
        @Default("MuonClip")
        RunConfig.Optimizer.Kind kind,
    @JsonPropertyDescription("Decoupled decay, applied to every parameter.")
        @Default("0.1")
        @Min(0)
        @Max(1e3)
        Double weightDecay,
    @JsonPropertyDescription("Largest global gradient norm; 0 for no clipping.")
        @Default("1")
        @Min(0)
        @Max(1e9)
        Double gradientClip,
    @JsonPropertyDescription("Constants of Muon; used by MuonClip.") @Default("{}") Muon muon,
    @JsonPropertyDescription("Constants of AdamW.") @Default("{}") AdamW adamW,
    @JsonPropertyDescription("Constants of QK-Clip; used by MuonClip.") @Default("{}")
        QkClip qkClip,
    @JsonPropertyDescription(
            "u of the router's balance update: bias += u · sign(mean load − load).")
        @Default("0.001")
        @Min(0)
        @Max(1)
        Double routerBiasRate) {

  /** Constants of Muon. */
  public record Muon(
      @JsonPropertyDescription("Momentum.")
          @Default("0.95")
          @Min(0)
          @Max(value = 1, inclusive = false)
          Double momentum,
      @JsonPropertyDescription("Whether the update looks one momentum step ahead.") @Default("true")
          Boolean nesterov,
      @JsonPropertyDescription("Iterations of the orthogonalisation.")
          @Default("5")
          @Min(1)
          @Max(100)
          Integer newtonSchulzSteps,
      @JsonPropertyDescription("a, b and c of the orthogonalisation's quintic.")
          @Default("[3.4445, -4.775, 2.0315]")
          @Size(min = 3, max = 3)
          List<Double> newtonSchulzCoefficients,
      @JsonPropertyDescription(
              "Target root mean square of an update: the factor before √max(rows, columns).")
          @Default("0.2")
          @Min(value = 0, inclusive = false)
          @Max(1e3)
          Double updateRms) {}

  /** Constants of AdamW. */
  public record AdamW(
      @JsonPropertyDescription("Decay of the first moment.")
          @Default("0.9")
          @Min(0)
          @Max(value = 1, inclusive = false)
          Double beta1,
      @JsonPropertyDescription("Decay of the second moment.")
          @Default("0.95")
          @Min(0)
          @Max(value = 1, inclusive = false)
          Double beta2,
      @JsonPropertyDescription("Added to the root of the second moment.")
          @Default("1e-8")
          @Min(value = 0, inclusive = false)
          @Max(1)
          Double epsilon) {}

  /** Constants of QK-Clip. */
  public record QkClip(
      @JsonPropertyDescription(
              "A head whose largest attention logit exceeds this is scaled back to it.")
          @Default("100")
          @Min(value = 0, inclusive = false)
          @Max(1e9)
          Double threshold,
      @JsonPropertyDescription(
              "The query's part without position takes γ to this power, the key's the rest.")
          @Default("0.5")
          @Min(0)
          @Max(1)
          Double balance) {}
}
