package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import dev.perigee.run.RunConfig;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;

/** How text becomes ids. */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "(self.kind == 'tiktoken') == has(self.volume) && has(self.volume) == has(self.path)",
    message =
        "tokenizer: tiktoken needs the volume and path of its ranks file; bytes needs neither")
@ValidationRule(
    value = "!has(self.path) || (!self.path.startsWith('/') && !self.path.contains('..'))",
    message = "tokenizer.path: must be relative to the volume and without '..'",
    fieldPath = ".path")
public record TokenizerSpec(
    @JsonPropertyDescription(
            "bytes: ids 0 to 255 are bytes of UTF-8, 256 begins and 257 ends a document; the"
                + " vocabulary has at least 258 rows. tiktoken: byte pairs by a ranks file, split as"
                + " Kimi K2 does.")
        @Default("bytes")
        RunConfig.Tokenizer.Kind kind,
    @JsonPropertyDescription("The volume with the ranks file; it is mounted read-only.")
        VolumeSource volume,
    @JsonPropertyDescription("The ranks file on the volume, for example tiktoken.model.")
        @Size(min = 1, max = 1024)
        String path) {

  /** Bytes. Written out, because an API server runs the rules on a default as it stands. */
  static final String BYTES = "{\"kind\": \"bytes\"}";
}
