package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;

/**
 * The model: its shape, and the weights it starts from. The shape is a preset, or inline, or that
 * of the checkpoint, which is named by its folder or by the job that wrote it; with both a shape
 * and a checkpoint the two must agree.
 */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "!(has(self.preset) && has(self.config))",
    message = "model: preset and config are both given; keep one of them")
@ValidationRule(
    value = "!(has(self.checkpoint) && has(self.from))",
    message = "model: checkpoint and from are both given; keep one of them")
@ValidationRule(
    value = "has(self.preset) || has(self.config) || has(self.checkpoint) || has(self.from)",
    message = "model: give a preset, a config, a checkpoint, or a job to continue from")
public record ModelSpec(
    // The enumeration of presets is put into the schema from ModelPresets when it is generated.
    @JsonPropertyDescription("Name of a shape that Perigee knows.") @Size(min = 1, max = 63)
        String preset,
    @JsonPropertyDescription("The shape, field by field.") ModelShape config,
    @JsonPropertyDescription(
            "A folder in Hugging Face layout (config.json and safetensors in F32 or BF16) whose"
                + " weights training starts from. Without it the first weights are random.")
        CheckpointSource checkpoint,
    @JsonPropertyDescription(
            "A job whose last durable checkpoint the weights are taken from. It is resolved once,"
                + " to the folder and digest in status.source.")
        ArtifactSource from) {

  /** A checkpoint folder on a volume. */
  @ValidationRule(
      value = "!self.path.startsWith('/') && !self.path.contains('..')",
      message = "model.checkpoint.path: must be relative to the volume and without '..'",
      fieldPath = ".path")
  public record CheckpointSource(
      @JsonPropertyDescription("The volume that holds the folder; it is mounted read-only.")
          @Required
          VolumeSource volume,
      @JsonPropertyDescription("The folder, relative to the volume's root; '.' for the root.")
          @Required
          @Size(min = 1, max = 1024)
          String path) {}
}
