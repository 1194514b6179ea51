package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Pattern;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;

/** One source of training text: a generator that Perigee brings along, or files on a volume. */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "has(self.builtin) != has(self.volume)",
    message = "data: give exactly one of builtin and volume")
@ValidationRule(
    value = "has(self.volume) == has(self.path)",
    message = "data: volume and path go together; path '.' is the volume's root")
@ValidationRule(
    value = "!has(self.path) || (!self.path.startsWith('/') && !self.path.contains('..'))",
    message = "data.path: must be relative to the volume and without '..'",
    fieldPath = ".path")
public record DataSource(
    @JsonPropertyDescription("Names the source in messages, metrics and paths.")
        @Required
        @Pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
        @Size(min = 1, max = 40)
        String name,
    // Without a default in the schema: one inside a list makes every later kubectl apply differ.
    @JsonPropertyDescription(
            "Share of the training sequences, relative to the other sources; 1 when absent.")
        @Min(value = 0, inclusive = false)
        @Max(1e9)
        Double weight,
    @JsonPropertyDescription(
            "A generator of Perigee's own. 'arithmetic' writes sums and word problems in the style"
                + " of school books.")
        Builtin builtin,
    @JsonPropertyDescription("The volume that holds the files; it is mounted read-only.")
        VolumeSource volume,
    @JsonPropertyDescription(
            "A file or folder on the volume: .jsonl (one object a line, with a string 'text') and"
                + " .txt in UTF-8. '.' is the volume's root.")
        @Size(min = 1, max = 1024)
        String path) {

  /** The generators there are. */
  public enum Builtin {
    arithmetic
  }
}
