package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;

/**
 * One condition of a resource, with the fields of {@code metav1.Condition}. Own type, because the
 * list that holds it must be a map by {@code type} in the schema.
 */
public record Condition(
    @JsonPropertyDescription(
            "Ready, Reconciling, Stalled, Complete, Failed or Suspended. All six are always"
                + " present.")
        @Required
        @Size(min = 1, max = 64)
        String type,
    @JsonPropertyDescription("Whether it holds.") @Required Status status,
    @JsonPropertyDescription("One word from a closed list that says why.")
        @Required
        @Size(min = 1, max = 64)
        String reason,
    @JsonPropertyDescription("One line for a person.") @Required @Size(max = 32768) String message,
    @JsonPropertyDescription("When status last changed, RFC 3339.") @Required
        String lastTransitionTime,
    @JsonPropertyDescription("Generation of the specification that this speaks of.")
        long observedGeneration) {

  /** Whether a condition holds. */
  public enum Status {
    True,
    False,
    Unknown
  }

  /** Whether this condition holds. */
  public boolean holds() {
    return status == Status.True;
  }
}
