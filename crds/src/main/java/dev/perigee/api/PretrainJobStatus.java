package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import java.util.List;
import java.util.Optional;

/** What came of a job. The operator alone writes it; what is not known is absent, never zero. */
@JsonInclude(JsonInclude.Include.NON_NULL)
public record PretrainJobStatus(
    @JsonPropertyDescription("Generation of the specification that this status speaks of.")
        Long observedGeneration,
    @JsonPropertyDescription(
            "Ready, Reconciling, Stalled, Complete, Failed and Suspended, always all six.")
        List<Condition> conditions,
    @JsonPropertyDescription("How the job is laid out over pods.") Layout layout,
    @JsonPropertyDescription("The current start of the gang.") GangAttempt attempt,
    @JsonPropertyDescription("Restarts that counted against failurePolicy.maxRestarts.")
        Integer restarts,
    @JsonPropertyDescription("Restarts that did not count.") Integer disruptions,
    @JsonPropertyDescription("Why the gang last broke.") GangFailure lastFailure,
    @JsonPropertyDescription("Numbers of the last step.") Progress progress,
    @JsonPropertyDescription("The newest score on held-out data.") Evaluation evaluation,
    @JsonPropertyDescription("The newest checkpoint that is complete on the volume.")
        CheckpointReference lastDurableCheckpoint,
    @JsonPropertyDescription("What model.from was resolved to, once and for all.") Source source,
    @JsonPropertyDescription("When the first pods were asked for, RFC 3339.") String startTime,
    @JsonPropertyDescription("When the job became Complete or Failed, RFC 3339.")
        String completionTime) {

  /** Nothing known yet. */
  public static final PretrainJobStatus EMPTY =
      new PretrainJobStatus(
          null, List.of(), null, null, null, null, null, null, null, null, null, null, null);

  public PretrainJobStatus {
    conditions = conditions == null ? List.of() : List.copyOf(conditions);
  }

  /** The condition of that type, empty when it was never set. */
  public Optional<Condition> condition(ConditionType type) {
    return conditions.stream().filter(c -> c.type().equals(type.name())).findFirst();
  }

  /** Whether the condition of that type holds. */
  public boolean holds(ConditionType type) {
    return condition(type).map(Condition::holds).orElse(false);
  }

  /** How the job is laid out over pods. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Layout(
      @JsonPropertyDescription("Pods of the gang.") Integer pods,
      @JsonPropertyDescription("Ranks over all pods.") Integer ranks,
      @JsonPropertyDescription("Times that each expert exists.") Integer expertReplicas,
      @JsonPropertyDescription("Parameters of the model, when its shape is known.")
          Long totalParameters,
      @JsonPropertyDescription("Parameters that one token uses, when the shape is known.")
          Long activeParameters,
      @JsonPropertyDescription("SHA-256 of the rank map in the job's ConfigMap.")
          String rankMapDigest,
      @JsonPropertyDescription("Who lets the gang in as a whole.") Scheduling scheduling,
      @JsonPropertyDescription(
              "What the planner expects; absent when only a checkpoint knows the model's shape.")
          Estimate estimate) {}

  /** What the planner expects of a job before it runs; {@code perigee plan} says more. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Estimate(
      @JsonPropertyDescription("Memory of the fullest rank, for people.") String memoryPerRank,
      @JsonPropertyDescription("The same by kind, in bytes.") Memory memory,
      @JsonPropertyDescription("Bytes that a rank may use, when that is known.") Long memoryLimit,
      @JsonPropertyDescription("Said when a rank needs more.") String tooMuch,
      @JsonPropertyDescription("Operations of a forward pass for each token.") Double flopsPerToken,
      @JsonPropertyDescription("Share of a step in which ranks wait for each other, 0 to 1.")
          Double bubbleShare,
      @JsonPropertyDescription("Seconds of a step, when the speed of the GPU is known.")
          Double stepSeconds,
      @JsonPropertyDescription(
              "The model's operations over what the GPUs could do at their peak, 0 to 1.")
          Double modelFlopsUtilization,
      @JsonPropertyDescription("What the busiest rank sends in a step.") Traffic traffic,
      @JsonPropertyDescription("Bytes of a checkpoint.") Double checkpointBytes,
      @JsonPropertyDescription(
              "Seconds to write it, at the speed that the planner takes for a pod.")
          Double checkpointSeconds) {}

  /** Bytes that a rank sends in a step. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Traffic(
      @JsonPropertyDescription("Bytes of tokens for experts of other ranks, and back.")
          Double expertBytes,
      @JsonPropertyDescription(
              "Share of their time under compute while forwards and backwards alternate, 0 to 1;"
                  + " absent without such traffic.")
          Double expertsHidden,
      @JsonPropertyDescription("Bytes between stages.") Double pipelineBytes,
      @JsonPropertyDescription("Bytes of gradients and of new weights.") Double updateBytes) {}

  /** Bytes of the fullest rank by kind. */
  public record Memory(
      @JsonPropertyDescription("Weights.") Long parameters,
      @JsonPropertyDescription("Gradients, in float32.") Long gradients,
      @JsonPropertyDescription("What the optimizer keeps on the rank.") Long optimizer,
      @JsonPropertyDescription("Activations of the micro-batches that are under way.")
          Long activations,
      @JsonPropertyDescription("Of exchanges and of Newton–Schulz.") Long buffers) {}

  /** Who lets the gang in as a whole: chosen when a start begins, kept until it ends. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Scheduling(
      @JsonPropertyDescription("None, Kueue, Volcano or PodGroup.") SchedulingSpec.Adapter adapter,
      @JsonPropertyDescription("Group and version of the API that is used.") String apiVersion,
      @JsonPropertyDescription("Name of the group of pods.") String group,
      @JsonPropertyDescription("The queue, when there is one.") String queue) {}

  /** Numbers of the last step, from rank 0. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Progress(
      @JsonPropertyDescription("Optimizer steps done.") Long step,
      @JsonPropertyDescription("Steps of the whole job.") Long totalSteps,
      @JsonPropertyDescription("Tokens trained on so far, over all ranks.") Long tokens,
      @JsonPropertyDescription("Mean next-token cross-entropy, in nats.") Double loss,
      @JsonPropertyDescription("Global gradient norm before clipping.") Double gradNorm,
      @JsonPropertyDescription("Learning rate.") Double learningRate,
      @JsonPropertyDescription("Tokens per second over all ranks.") Double tokensPerSecond,
      @JsonPropertyDescription("Largest attention logit over all layers and heads.")
          Double maxQkLogit,
      @JsonPropertyDescription("Heads that QK-Clip scaled.") Integer clippedHeads,
      @JsonPropertyDescription("Tokens of the busiest expert over the mean.")
          Double expertImbalance,
      @JsonPropertyDescription("When rank 0 reported this, RFC 3339.") String updatedAt,
      @JsonPropertyDescription("Median time of the last steps, in seconds.") Double stepSeconds,
      @JsonPropertyDescription(
              "The attempt that reported this; one before attempt.number until the gang has taken"
                  + " its first step again.")
          Integer attempt) {}

  /** A score on held-out data. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Evaluation(
      @JsonPropertyDescription("The step it was taken after.") Long step,
      @JsonPropertyDescription("Mean cross-entropy in nats per token.") Double loss,
      @JsonPropertyDescription("The same in bits per byte of text.") Double bitsPerByte,
      @JsonPropertyDescription("Share of held-out problems answered exactly.") Double exact,
      @JsonPropertyDescription("How many problems were asked.") Integer problems,
      @JsonPropertyDescription("What the model says to a prompt.") String sample) {}

  /** The checkpoint that a reference came to. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Source(
      @JsonPropertyDescription("The job that wrote it.") String pretrainJob,
      @JsonPropertyDescription("Its checkpoint.") CheckpointReference checkpoint) {}

  /** Where a checkpoint lies. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record CheckpointReference(
      @JsonPropertyDescription("The step it was taken after.") Long step,
      @JsonPropertyDescription("The folder, relative to the volume's root.") String path,
      @JsonPropertyDescription("The volume.") VolumeSource volume,
      @JsonPropertyDescription("SHA-256 of its manifest, trainer/manifest.json.") String digest,
      @JsonPropertyDescription("How long it took to write, in seconds.") Double seconds) {}

  /** The same status, resolved to a source. */
  public PretrainJobStatus with(Source resolved) {
    return new PretrainJobStatus(
        observedGeneration,
        conditions,
        layout,
        attempt,
        restarts,
        disruptions,
        lastFailure,
        progress,
        evaluation,
        lastDurableCheckpoint,
        resolved,
        startTime,
        completionTime);
  }

  /** The same status with other conditions, for a generation of the specification. */
  public PretrainJobStatus with(Long generation, List<Condition> others) {
    return new PretrainJobStatus(
        generation,
        others,
        layout,
        attempt,
        restarts,
        disruptions,
        lastFailure,
        progress,
        evaluation,
        lastDurableCheckpoint,
        source,
        startTime,
        completionTime);
  }
}
