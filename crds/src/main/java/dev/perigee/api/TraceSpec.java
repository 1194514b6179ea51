package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Required;

/** What to record of a run, for people and for {@code ./perigee plan --calibrate}. */
public record TraceSpec(
    @JsonPropertyDescription(
            "The step whose timeline is written, with every rank's part: traces/step-NNNNNNNN.json"
                + " beside the checkpoints, in Chrome's trace format.")
        @Required
        @Min(1)
        @Max(1e12)
        Long step) {}
