package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.ValidationRule;

/**
 * How ranks are laid out. Expert parallelism folds into data parallelism: {@code expert} divides
 * {@code data}, and each expert exists {@code data / expert} times.
 */
@ValidationRule(
    value = "self.data % self.expert == 0",
    message =
        "parallelism.expert: must divide parallelism.data, because expert parallelism folds into"
            + " data parallelism",
    messageExpression =
        "'parallelism.expert: %s does not divide parallelism.data %s; 1%s%s%s%s%s%s and %s"
            + " do'.format([string(self.expert), string(self.data), "
            + Parallelism.DIVISORS_OF_DATA
            + ", string(self.data)])",
    fieldPath = ".expert")
@ValidationRule(
    value = "self.data % self.ranksPerPod == 0",
    message = "parallelism.ranksPerPod: must divide the ranks, which are parallelism.data many",
    messageExpression =
        "'parallelism.ranksPerPod: %s does not divide the %s ranks; 1%s%s%s%s%s%s and %s"
            + " do'.format([string(self.ranksPerPod), string(self.data), "
            + Parallelism.DIVISORS_OF_DATA
            + ", string(self.data)])",
    fieldPath = ".ranksPerPod")
public record Parallelism(
    @JsonPropertyDescription("Data-parallel ranks: each trains on its share of a batch.")
        @Default("1")
        @Min(1)
        @Max(65536)
        Integer data,
    @JsonPropertyDescription(
            "Ranks that share the routed experts between them and exchange tokens. Divides data and"
                + " the number of routed experts.")
        @Default("1")
        @Min(1)
        @Max(65536)
        Integer expert,
    @JsonPropertyDescription(
            "Ranks in one pod: threads on a CPU, GPUs otherwise. Divides the number of ranks.")
        @Default("1")
        @Min(1)
        @Max(1024)
        Integer ranksPerPod) {

  /**
   * One rank. Written out, because an API server runs the rules on a default before it fills in the
   * defaults within.
   */
  static final String SINGLE = "{\"data\": 1, \"expert\": 1, \"ranksPerPod\": 1}";

  /** CEL: the usual proper divisors of {@code self.data}, six strings for a message. */
  static final String DIVISORS_OF_DATA =
      "self.data > 2 && self.data % 2 == 0 ? ', 2' : ''"
          + ", self.data > 3 && self.data % 3 == 0 ? ', 3' : ''"
          + ", self.data > 4 && self.data % 4 == 0 ? ', 4' : ''"
          + ", self.data > 6 && self.data % 6 == 0 ? ', 6' : ''"
          + ", self.data > 8 && self.data % 8 == 0 ? ', 8' : ''"
          + ", self.data > 16 && self.data % 16 == 0 ? ', 16' : ''";
}
