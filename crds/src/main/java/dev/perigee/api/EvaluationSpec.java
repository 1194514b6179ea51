package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import dev.perigee.run.RunConfig;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;

/** How to score on held-out data, which is never trained on. */
public record EvaluationSpec(
    @JsonPropertyDescription("Steps between evaluations; 0 for only after the last step.")
        @Default("0")
        @Min(0)
        @Max(1e12)
        Long intervalSteps,
    @JsonPropertyDescription("Held-out problems asked of a builtin source.")
        @Default("500")
        @Min(0)
        @Max(RunConfig.Evaluation.MOST_PROBLEMS)
        Integer problems,
    @JsonPropertyDescription("Share of the documents on a volume that is held out.")
        @Default("0.05")
        @Min(0)
        @Max(value = 1, inclusive = false)
        Double heldOutFraction) {}
