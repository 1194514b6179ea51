package dev.perigee.run;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonInclude;

/**
 * What rank 0 answers at {@code GET /status}. Numbers that are not known yet are null, never zero.
 *
 * @param phase where the program is
 * @param message one line for a person when something needs saying, else null
 * @param step optimizer steps done
 * @param durableStep step of the newest checkpoint that is complete on the volume, null when none
 * @param totalSteps steps of the whole job
 * @param tokens tokens trained on so far, over all ranks
 * @param loss mean next-token cross-entropy of the last step, in nats
 * @param gradNorm global gradient norm of the last step, before clipping
 * @param learningRate learning rate of the last step
 * @param tokensPerSecond over all ranks, averaged over the last steps
 * @param maxQkLogit largest attention logit over all layers and heads in the last step
 * @param clippedHeads heads that QK-Clip scaled in the last step
 * @param expertImbalance tokens of the busiest expert over the mean, largest over the layers
 * @param checkpoint folder of the newest durable checkpoint, as the program sees it, null when none
 * @param evaluation the newest evaluation on held-out data, null when none
 * @param updatedAt RFC 3339 time of these numbers
 * @param stepSeconds median time of the last steps, null before the first
 * @param checkpointSeconds how long the newest save took, null before the first
 * @param checkpointDigest SHA-256 of the manifest in {@code checkpoint}, null when there is none
 * @param idleSeconds time since the program last got on with anything (a step, a phase, a save), by
 *     its own clock, so that nobody has to compare two machines' clocks
 */
@JsonIgnoreProperties(ignoreUnknown = true)
@JsonInclude(JsonInclude.Include.NON_NULL)
public record RunStatus(
    Phase phase,
    String message,
    long step,
    Long durableStep,
    long totalSteps,
    long tokens,
    Double loss,
    Double gradNorm,
    Double learningRate,
    Double tokensPerSecond,
    Double maxQkLogit,
    Integer clippedHeads,
    Double expertImbalance,
    String checkpoint,
    Evaluation evaluation,
    String updatedAt,
    Double stepSeconds,
    Double checkpointSeconds,
    String checkpointDigest,
    Double idleSeconds) {

  /** Where a program is in its life. */
  public enum Phase {
    /** Reading its configuration. */
    Starting,
    /**
     * Waiting for a start of the gang to be part of: a spare pod, or one that stayed over a
     * restart.
     */
    Waiting,
    /** Waiting for its peers. */
    Rendezvous,
    /** Reading data and weights. */
    Loading,
    /** Taking steps. */
    Training,
    /** Scoring held-out data. */
    Evaluating,
    /** Writing a checkpoint after the last step or on request. */
    Saving,
    /** Everything is done and saved. */
    Done,
    /** Ended with an error; {@code message} says which. */
    Failed
  }

  /**
   * A score on held-out data.
   *
   * @param step the step it was taken after
   * @param loss mean cross-entropy in nats per token
   * @param bitsPerByte the same in bits per byte of text, which compares across tokenizers
   * @param exact share of held-out problems answered exactly, null when the data has none
   * @param problems how many problems were asked, null when the data has none
   * @param sample what the model says to a prompt, for a person to read
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Evaluation(
      long step, Double loss, Double bitsPerByte, Double exact, Integer problems, String sample) {}
}
