package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import java.util.List;

/** Why a gang broke, and what was done about it. */
@JsonInclude(JsonInclude.Include.NON_NULL)
public record GangFailure(
    @JsonPropertyDescription("The attempt that broke.") Integer attempt,
    @JsonPropertyDescription("The pod that broke it.") String pod,
    @JsonPropertyDescription("Its exit code, when it had one.") Integer exitCode,
    @JsonPropertyDescription("One word that says why.") String reason,
    @JsonPropertyDescription("One line for a person.") String message,
    @JsonPropertyDescription("What was done.") FailurePolicy.Action action,
    @JsonPropertyDescription("When it was noticed, RFC 3339.") String time,
    @JsonPropertyDescription(
            "Nodes that turned pods away, in this attempt and those in a row before it, the last at"
                + " the end; the next attempt prefers others.")
        List<String> rejectedBy) {}
