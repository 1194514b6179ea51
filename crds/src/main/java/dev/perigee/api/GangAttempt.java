package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;

/** One start of a gang, in the status of its job. */
@JsonInclude(JsonInclude.Include.NON_NULL)
public record GangAttempt(
    @JsonPropertyDescription("Counts the starts, from 1; the label perigee.dev/generation.")
        Integer number,
    @JsonPropertyDescription(
            "Whether all its pods existed at once; from then on a missing pod is a loss.")
        Boolean formed,
    @JsonPropertyDescription("Not started before this time, RFC 3339.") String notBefore,
    @JsonPropertyDescription("How far the start has come.") Phase phase,
    @JsonPropertyDescription("Since when, RFC 3339; its deadline counts from here.")
        String phaseTime) {

  /** Phases of a start, in their order. */
  public enum Phase {
    /** Pods are not there yet, or wait to be let in. */
    Admission,
    /** A pod has no node. */
    Scheduling,
    /** A container does not run yet. */
    ImagePull,
    /** Pods wait for their peers. */
    Rendezvous,
    /** Data and weights are being read. */
    Loading,
    /** No step is done yet. */
    FirstStep,
    /** Steps have been taken. */
    Training
  }

  /** A start of which nothing is there yet. */
  public static GangAttempt of(int number, String notBefore) {
    return new GangAttempt(number, false, notBefore, null, null);
  }
}
