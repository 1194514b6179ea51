package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.ValidationRule;

/** Learning rate by step: linear warm-up, constant, cosine decay (Kimi K2 report, section 2.5). */
@ValidationRule(
    value = "self.finalLearningRate <= self.peakLearningRate",
    message = "schedule.finalLearningRate: must not be more than peakLearningRate",
    fieldPath = ".finalLearningRate")
public record ScheduleSpec(
    @JsonPropertyDescription("Learning rate of the constant part.")
        @Required
        @Min(value = 0, inclusive = false)
        @Max(1e3)
        Double peakLearningRate,
    @JsonPropertyDescription("Steps of the linear rise from 0.") @Default("0") @Min(0) @Max(1e12)
        Long warmupSteps,
    @JsonPropertyDescription("Steps of the cosine at the end; 0 for none.")
        @Default("0")
        @Min(0)
        @Max(1e12)
        Long decaySteps,
    @JsonPropertyDescription("Learning rate of the last step, when there is a decay.")
        @Default("0")
        @Min(0)
        @Max(1e3)
        Double finalLearningRate) {}
