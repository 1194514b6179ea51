package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.kubernetes.api.model.Quantity;
import java.util.Map;

/** What one pod asks of its node, as in any pod. */
@JsonInclude(JsonInclude.Include.NON_NULL)
public record ResourcesSpec(
    @JsonPropertyDescription("What is set aside for a pod, for example cpu and memory.")
        Map<String, Quantity> requests,
    @JsonPropertyDescription("What a pod may use at most; nvidia.com/gpu belongs here.")
        Map<String, Quantity> limits) {}
