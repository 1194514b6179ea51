package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;

/** What another resource of the same namespace has made, by the name of that resource. */
public record ArtifactSource(
    @JsonPropertyDescription(
            "A PretrainJob of this namespace. Its checkpoint is taken when it is Complete; until"
                + " then this job waits and says so.")
        @Required
        @Size(min = 1, max = 63)
        String pretrainJob) {}
