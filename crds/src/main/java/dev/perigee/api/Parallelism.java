package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;
import java.util.List;

/**
 * How ranks are laid out: {@code pipeline × data} of them. Expert parallelism folds into data
 * parallelism: {@code expert} divides {@code data}, and each expert exists {@code data / expert}
 * times.
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
    value = "self.pipeline * self.data % self.ranksPerPod == 0",
    message = "parallelism.ranksPerPod: must divide the ranks, which are pipeline × data many",
    messageExpression =
        "'parallelism.ranksPerPod: %s does not divide the %s ranks; 1%s%s%s%s%s%s and %s"
            + " do'.format([string(self.ranksPerPod), string(self.pipeline * self.data), "
            + Parallelism.DIVISORS_OF_RANKS
            + ", string(self.pipeline * self.data)])",
    fieldPath = ".ranksPerPod")
@ValidationRule(
    value = "!has(self.layout) || size(self.layout) == self.pipeline * self.virtualStages",
    message = "parallelism.layout: must have one entry for each of pipeline × virtualStages chunks",
    messageExpression =
        "'parallelism.layout: %s entries; expected one for each of the pipeline × virtualStages ="
            + " %s chunks; so many entries suit %s × 1%s%s'.format([string(size(self.layout)),"
            + " string(self.pipeline * self.virtualStages), string(size(self.layout)),"
            + " size(self.layout) % 2 == 0 ? ', %s × 2'.format([string(size(self.layout) / 2)]) :"
            + " '', size(self.layout) % 4 == 0 ? ', %s × 4'.format([string(size(self.layout) /"
            + " 4)]) : ''])",
    fieldPath = ".layout")
@ValidationRule(
    value =
        "!has(self.layout) || size(self.layout) < 3 || self.layout.all(n, n > 0) ||"
            + " self.layout.filter(n, n == 0).size() == (self.layout[0] == 0 ? 1 : 0) +"
            + " (self.layout[size(self.layout) - 1] == 0 ? 1 : 0)",
    message =
        "parallelism.layout: only the first chunk, which has the embedding, and the last, which has"
            + " the head, can be without layers",
    fieldPath = ".layout")
public record Parallelism(
    @JsonPropertyDescription(
            "Pipeline stages: ranks that hold one run of layers each, or virtualStages of them.")
        @Default("1")
        @Min(1)
        @Max(1024)
        Integer pipeline,
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
            "Ranks in one pod: threads on a CPU, GPUs otherwise. Divides the number of ranks, which"
                + " is pipeline × data.")
        @Default("1")
        @Min(1)
        @Max(1024)
        Integer ranksPerPod,
    @JsonPropertyDescription(
            "Runs of layers on each stage. With more than one, 1F1B is interleaved, and the"
                + " micro-batches of a step must be a multiple of pipeline.")
        @Default("1")
        @Min(1)
        @Max(64)
        Integer virtualStages,
    @JsonPropertyDescription(
            "Sequences of a micro-batch; when absent, few enough to keep all stages busy. Divides"
                + " batchTokens / (sequenceLength × data).")
        @Min(1)
        @Max(1048576)
        Integer microBatchSequences,
    @JsonPropertyDescription(
            "Whether the exchange of tokens between experts runs under the compute of another"
                + " micro-batch. Each stage then keeps the activations of one more.")
        @Default("false")
        Boolean expertOverlap,
    @JsonPropertyDescription(
            "Whether weight gradients are computed apart and later, under the traffic between stages"
                + " and, with expertOverlap, under that between experts.")
        @Default("false")
        Boolean splitWeightGradient,
    @JsonPropertyDescription(
            "Layers of each run of layers, in the order of the model, pipeline × virtualStages"
                + " numbers; when absent, chosen by cost. Run i is on stage i modulo pipeline. The"
                + " first run has the embedding and the last the head besides.")
        @Size(min = 1, max = 1024)
        List<@Min(0) @Max(4096) Integer> layout) {

  /**
   * One rank. Written out, because an API server runs the rules on a default before it fills in the
   * defaults within.
   */
  static final String SINGLE =
      "{\"pipeline\": 1, \"data\": 1, \"expert\": 1, \"ranksPerPod\": 1, \"virtualStages\": 1,"
          + " \"expertOverlap\": false, \"splitWeightGradient\": false}";

  /** CEL: the usual proper divisors of {@code self.data}, six strings for a message. */
  static final String DIVISORS_OF_DATA =
      "self.data > 2 && self.data % 2 == 0 ? ', 2' : ''"
          + ", self.data > 3 && self.data % 3 == 0 ? ', 3' : ''"
          + ", self.data > 4 && self.data % 4 == 0 ? ', 4' : ''"
          + ", self.data > 6 && self.data % 6 == 0 ? ', 6' : ''"
          + ", self.data > 8 && self.data % 8 == 0 ? ', 8' : ''"
          + ", self.data > 16 && self.data % 16 == 0 ? ', 16' : ''";

  /** CEL: the same of all ranks. */
  static final String DIVISORS_OF_RANKS =
      "self.pipeline * self.data > 2 && self.pipeline * self.data % 2 == 0 ? ', 2' : ''"
          + ", self.pipeline * self.data > 3 && self.pipeline * self.data % 3 == 0 ? ', 3' : ''"
          + ", self.pipeline * self.data > 4 && self.pipeline * self.data % 4 == 0 ? ', 4' : ''"
          + ", self.pipeline * self.data > 6 && self.pipeline * self.data % 6 == 0 ? ', 6' : ''"
          + ", self.pipeline * self.data > 8 && self.pipeline * self.data % 8 == 0 ? ', 8' : ''"
          + ", self.pipeline * self.data > 16 && self.pipeline * self.data % 16 == 0 ? ', 16' :"
          + " ''";
}
