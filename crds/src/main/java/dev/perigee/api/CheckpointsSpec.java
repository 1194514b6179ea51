package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;

/** Where and when to save. Checkpoints outlive the job. */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "!has(self.path) || (!self.path.startsWith('/') && !self.path.contains('..'))",
    message = "checkpoints.path: must be relative to the volume and without '..'",
    fieldPath = ".path")
public record CheckpointsSpec(
    @JsonPropertyDescription("The volume to write to. All pods of the job write to it.") @Required
        VolumeSource volume,
    @JsonPropertyDescription("Folder on the volume; when absent, the job's name.")
        @Size(min = 1, max = 1024)
        String path,
    @JsonPropertyDescription(
            "Steps between checkpoints. One is always written after the last step.")
        @Required
        @Min(1)
        @Max(1e12)
        Long intervalSteps,
    @JsonPropertyDescription("How many of the newest stay.") @Default("2") @Min(1) @Max(10000)
        Integer keep) {}
