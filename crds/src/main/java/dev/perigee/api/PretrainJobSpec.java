package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;
import java.util.List;

/**
 * What a person asks for. Rules here relate several parts to each other; those about one part stand
 * on that part. Rules that need the shapes of presets ({@link dev.perigee.run.ModelPresets}) or
 * name what would work instead are added when the schema is generated.
 */
@JsonInclude(JsonInclude.Include.NON_NULL)
// The algebra of mesh, model and batch.
@ValidationRule(
    value =
        "!has(self.model.config) || self.model.config.nRoutedExperts > 0 ||"
            + " self.parallelism.expert == 1",
    message = "parallelism.expert: must be 1 for a model without routed experts",
    fieldPath = ".parallelism.expert")
@ValidationRule(
    value =
        "!has(self.model.config) || self.model.config.nRoutedExperts > 0 ||"
            + " !('expertDown' in self.memory.recompute)",
    message = "memory.recompute: expertDown is for models with routed experts",
    fieldPath = ".memory.recompute")
@ValidationRule(
    value =
        "!has(self.model.config) || self.model.config.nRoutedExperts > 0 ||"
            + " !('expertInput' in self.memory.fp8)",
    message = "memory.fp8: expertInput is for models with routed experts",
    fieldPath = ".memory.fp8")
@ValidationRule(
    value =
        "!has(self.model.config) || !self.model.config.tieWordEmbeddings ||"
            + " self.parallelism.pipeline == 1",
    message =
        "parallelism.pipeline: must be 1 for a model with tieWordEmbeddings, whose embedding and"
            + " head would be on different stages",
    fieldPath = ".parallelism.pipeline")
@ValidationRule(
    value =
        "!has(self.model.config) || self.sequenceLength <= self.model.config.maxPositionEmbeddings",
    message = "sequenceLength: must not be more than model.config.maxPositionEmbeddings",
    fieldPath = ".sequenceLength")
@ValidationRule(
    value =
        "self.tokenizer.kind != 'bytes' || !has(self.model.config) || self.model.config.vocabSize"
            + " >= 258",
    message =
        "model.config.vocabSize: must be at least 258 for the tokenizer bytes (256 bytes, begin,"
            + " end)",
    fieldPath = ".model.config.vocabSize")
// How long, and how the learning rate goes.
@ValidationRule(
    value = "has(self.steps) != has(self.tokens)",
    message = "spec: give exactly one of steps and tokens")
@ValidationRule(
    value =
        "!has(self.steps) || self.schedule.warmupSteps + self.schedule.decaySteps <= self.steps",
    message = "schedule: warmupSteps + decaySteps must not be more than steps",
    fieldPath = ".schedule")
@ValidationRule(
    value =
        "!has(self.tokens) || self.schedule.warmupSteps + self.schedule.decaySteps <= (self.tokens"
            + " + self.batchTokens - 1) / self.batchTokens",
    message =
        "schedule: warmupSteps + decaySteps must not be more than the steps, which are tokens /"
            + " batchTokens",
    fieldPath = ".schedule")
@ValidationRule(
    value =
        "!has(self.trace) || has(self.steps) == has(self.tokens) || self.trace.step <="
            + " (has(self.steps) ? self.steps : (self.tokens + self.batchTokens - 1) /"
            + " self.batchTokens)",
    message = "trace.step: must be one of the steps of the job",
    messageExpression =
        "'trace.step: %s is after the last step, which is %s'.format([string(self.trace.step),"
            + " string(has(self.steps) ? self.steps : (self.tokens + self.batchTokens - 1) /"
            + " self.batchTokens)])",
    fieldPath = ".trace.step")
// What may change, and when.
@ValidationRule(
    value =
        "self.model == oldSelf.model && self.data == oldSelf.data && self.tokenizer =="
            + " oldSelf.tokenizer && self.sequenceLength == oldSelf.sequenceLength && self.seed =="
            + " oldSelf.seed",
    message =
        "spec: model, data, tokenizer, sequenceLength and seed cannot change, because earlier"
            + " checkpoints would no longer continue the same run; create another PretrainJob")
@ValidationRule(
    value =
        "self.checkpoints.volume == oldSelf.checkpoints.volume && has(self.checkpoints.path) =="
            + " has(oldSelf.checkpoints.path) && (!has(self.checkpoints.path) ||"
            + " self.checkpoints.path == oldSelf.checkpoints.path)",
    message =
        "checkpoints: volume and path cannot change, because the run would lose its checkpoints;"
            + " create another PretrainJob",
    fieldPath = ".checkpoints")
@ValidationRule(
    value =
        "oldSelf.suspend || (self.parallelism == oldSelf.parallelism && self.memory =="
            + " oldSelf.memory && self.compute == oldSelf.compute && self.batchTokens =="
            + " oldSelf.batchTokens && self.optimizer == oldSelf.optimizer && self.schedule =="
            + " oldSelf.schedule && has(self.steps) == has(oldSelf.steps) && (!has(self.steps) ||"
            + " self.steps == oldSelf.steps) && has(self.tokens) == has(oldSelf.tokens) &&"
            + " (!has(self.tokens) || self.tokens == oldSelf.tokens) && self.checkpoints =="
            + " oldSelf.checkpoints && has(self.evaluation) == has(oldSelf.evaluation) &&"
            + " (!has(self.evaluation) || self.evaluation == oldSelf.evaluation) && has(self.trace)"
            + " == has(oldSelf.trace) && (!has(self.trace) || self.trace == oldSelf.trace))",
    message =
        "spec: parallelism, memory, compute, batchTokens, optimizer, schedule, steps, tokens,"
            + " checkpoints, evaluation and trace can change only while the job is suspended; set"
            + " suspend: true first")
@ValidationRule(
    value =
        "oldSelf.suspend || (has(self.resources) == has(oldSelf.resources) && (!has(self.resources)"
            + " || self.resources == oldSelf.resources) && has(self.image) == has(oldSelf.image) &&"
            + " (!has(self.image) || self.image == oldSelf.image) && self.imagePullPolicy =="
            + " oldSelf.imagePullPolicy && self.podOverrides == oldSelf.podOverrides &&"
            + " self.scheduling == oldSelf.scheduling)",
    message =
        "spec: resources, image, imagePullPolicy, podOverrides and scheduling can change only while"
            + " the job is suspended; set suspend: true first")
@ValidationRule(
    value = "self.failurePolicy.restart != 'InPlace' || self.scheduling.adapter == 'None'",
    message =
        "failurePolicy.restart: InPlace needs scheduling.adapter None, because schedulers of gangs"
            + " let each start in as a group of its own",
    fieldPath = ".failurePolicy.restart")
@ValidationRule(
    value = "self.failurePolicy.spares == 0 || self.failurePolicy.restart == 'InPlace'",
    message =
        "failurePolicy.spares: spare pods need failurePolicy.restart InPlace, because Recreate makes"
            + " all pods anew",
    fieldPath = ".failurePolicy.spares")
@ValidationRule(
    value =
        "self.failurePolicy.spares == 0 || !has(self.scheduling.expertGroups) ||"
            + " self.scheduling.expertGroups.mode != 'Required'",
    message =
        "failurePolicy.spares: a spare pod can take any place, which scheduling.expertGroups.mode"
            + " Required does not allow; use Preferred",
    fieldPath = ".failurePolicy.spares")
@ValidationRule(
    value =
        "has(self.managedBy) == has(oldSelf.managedBy) && (!has(self.managedBy) || self.managedBy"
            + " == oldSelf.managedBy)",
    message = "managedBy: cannot change, because two controllers would hold the same pods")
public record PretrainJobSpec(
    @JsonPropertyDescription("The model's shape and first weights. Cannot change.") @Required
        ModelSpec model,
    @JsonPropertyDescription("Where training text comes from. Cannot change.")
        @Required
        @Size(min = 1, max = 64)
        List<DataSource> data,
    @JsonPropertyDescription("How text becomes ids. Cannot change.") @Default(TokenizerSpec.BYTES)
        TokenizerSpec tokenizer,
    @JsonPropertyDescription("Tokens of one training sequence. Cannot change.")
        @Required
        @Min(2)
        @Max(1048576)
        Integer sequenceLength,
    @JsonPropertyDescription(
            "Tokens of one optimizer step over all ranks; a multiple of sequenceLength ×"
                + " parallelism.data.")
        @Required
        @Min(2)
        @Max(1e12)
        Long batchTokens,
    @JsonPropertyDescription("How ranks are laid out.") @Default(Parallelism.SINGLE)
        Parallelism parallelism,
    @JsonPropertyDescription("What is kept of activations, and how.") @Default("{}")
        MemorySpec memory,
    @JsonPropertyDescription("What the pods compute with.") @Default("{\"backend\": \"cpu\"}")
        ComputeSpec compute,
    @JsonPropertyDescription("How weights are updated.") @Default("{}") OptimizerSpec optimizer,
    @JsonPropertyDescription("Learning rate by step.") @Required ScheduleSpec schedule,
    @JsonPropertyDescription("Optimizer steps of the whole job. Either this or tokens.")
        @Min(1)
        @Max(1e12)
        Long steps,
    @JsonPropertyDescription("Tokens to train on, rounded up to whole steps. Either this or steps.")
        @Min(1)
        @Max(1e18)
        Long tokens,
    @JsonPropertyDescription(
            "Seeds the first weights and the order of the data. The same seed and layout give the"
                + " same result, bit for bit. Cannot change.")
        @Default("0")
        Long seed,
    @JsonPropertyDescription("Where and when to save.") @Required CheckpointsSpec checkpoints,
    @JsonPropertyDescription("How to score on held-out data; absent for not at all.")
        EvaluationSpec evaluation,
    @JsonPropertyDescription("What to record of the run; absent for nothing.") TraceSpec trace,
    @JsonPropertyDescription("What each pod asks of its node.") ResourcesSpec resources,
    @JsonPropertyDescription("Image of the pods; when absent, the operator's own choice.")
        @Size(min = 1, max = 1024)
        String image,
    @JsonPropertyDescription("When the image is pulled.") @Default("IfNotPresent")
        PullPolicy imagePullPolicy,
    @JsonPropertyDescription("What is passed through to the pods.") @Default("{}")
        PodOverrides podOverrides,
    @JsonPropertyDescription("Who lets the gang in as a whole, and how its pods are placed.")
        @Default(SchedulingSpec.AUTO)
        SchedulingSpec scheduling,
    @JsonPropertyDescription("What to do when a pod fails.") @Default("{}")
        FailurePolicy failurePolicy,
    @JsonPropertyDescription(
            "Whether the job holds no pods. Set to true, the pods save and go; set to false again,"
                + " training continues where it was.")
        @Default("false")
        Boolean suspend,
    @JsonPropertyDescription(
            "Who reconciles the job: perigee.dev/operator, or when absent this operator too. It"
                + " leaves a job with another value alone. Cannot change.")
        @Size(min = 1, max = 63)
        String managedBy,
    @JsonPropertyDescription(
            "Seconds that the job may take from status.startTime until it fails; absent for any"
                + " time. Time spent suspended does not count.")
        @Min(1)
        @Max(1e9)
        Long activeDeadlineSeconds,
    @JsonPropertyDescription(
            "Seconds after its end until the job is deleted, its checkpoints not; absent for"
                + " never.")
        @Min(0)
        @Max(1e9)
        Long ttlSecondsAfterFinished) {

  /** The value of managedBy that means this operator, as its absence does. */
  public static final String OPERATOR = "perigee.dev/operator";

  /** When an image is pulled. */
  public enum PullPolicy {
    Always,
    IfNotPresent,
    Never
  }

  /** Optimizer steps of the whole job, from {@code steps} or {@code tokens}. */
  public long totalSteps() {
    return steps != null ? steps : Math.ceilDiv(tokens, batchTokens);
  }
}
