package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;

/** How text becomes ids. */
public record TokenizerSpec(
    @JsonPropertyDescription(
            "bytes: ids 0 to 255 are bytes of UTF-8, 256 begins and 257 ends a document; the"
                + " vocabulary has at least 258 rows.")
        @Default("bytes")
        Kind kind) {

  /** The tokenizers there are. */
  public enum Kind {
    bytes
  }
}
