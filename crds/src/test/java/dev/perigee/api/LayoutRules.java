package dev.perigee.api;

import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import io.fabric8.kubernetes.api.model.apiextensions.v1.ValidationRule;
import io.fabric8.kubernetes.api.model.apiextensions.v1.ValidationRuleBuilder;
import java.util.List;
import java.util.function.ToIntFunction;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Rules of the specification that relate mesh, model and batch, and say what is nearest to what was
 * asked and works. They are made here and not written as annotations because they hold the numbers
 * of the presets and say the same thing for many numbers.
 *
 * <p>The Common Expression Language has no variables and, in the oldest Kubernetes that has it, no
 * sorting. So a value gets a name as the only entry of a list that is mapped, and the nearest three
 * of some candidates are those to which fewer than three others are nearer. Before it takes a rule,
 * an API server reckons what it could cost at most. Candidates are therefore written out, and lists
 * are put into messages as they are: it has no bound for the length of a list or text that was
 * computed, and refuses to go over one ({@code join}, {@code +}).
 */
final class LayoutRules {
  /** What to try for a number of stages or experts: small ones, and those that divide many. */
  private static final List<Integer> CANDIDATES =
      List.of(
          1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 18, 20, 21, 24, 28, 30, 32, 36, 40, 48, 60,
          64, 72, 96, 128, 192, 256, 384, 512, 1024);

  /** Entries of a layout that are tried for a change: the first ones. */
  private static final int ENTRIES_TRIED = 64;

  private static final int NAMED = 3;

  private static final String EXPERTS = ofModel("nRoutedExperts", ModelConfig::nRoutedExperts);
  private static final String LAYERS = ofModel("numHiddenLayers", ModelConfig::numHiddenLayers);

  private static final String KNOWN = "(has(self.model.preset) || has(self.model.config))";
  private static final String MODEL =
      "(has(self.model.preset) ? self.model.preset : 'model.config')";

  /** Sequences of a data-parallel rank. */
  private static final String SHARE =
      "self.batchTokens / (self.sequenceLength * self.parallelism.data)";

  private static final String MICRO_BATCH =
      "(has(self.parallelism.microBatchSequences) ? self.parallelism.microBatchSequences : 1)";

  /** Every batch that is a multiple of this suits the rest of the layout. */
  private static final String UNIT =
      "self.sequenceLength * self.parallelism.data * "
          + MICRO_BATCH
          + " * (self.parallelism.virtualStages > 1 ? self.parallelism.pipeline : 1)";

  private LayoutRules() {}

  static List<ValidationRule> all() {
    return List.of(
        expertsDivide(),
        notTooManyChunks(),
        layoutHasAllLayers(),
        batchDivides(),
        microBatchDivides(),
        microBatchesInterleave());
  }

  private static ValidationRule expertsDivide() {
    return rule(
        ".parallelism.expert",
        "!" + KNOWN + " || " + EXPERTS + " % self.parallelism.expert == 0",
        "parallelism.expert: must divide the model's routed experts",
        let(
            "experts",
            EXPERTS,
            "'parallelism.expert: %s does not divide the %s routed experts of %s; use one of"
                + " %s, which divide them and parallelism.data'"
                + ".format([string(self.parallelism.expert), string(experts), "
                + MODEL
                + ", "
                + nearest(
                    CANDIDATES,
                    n -> "experts % " + n + " == 0 && self.parallelism.data % " + n + " == 0",
                    "self.parallelism.expert")
                + "])"));
  }

  private static ValidationRule notTooManyChunks() {
    return rule(
        ".parallelism.pipeline",
        "!"
            + KNOWN
            + " || self.parallelism.pipeline * self.parallelism.virtualStages <= "
            + LAYERS
            + " + 2",
        "parallelism.pipeline: pipeline × virtualStages must not be more than the model's layers"
            + " + 2, where embedding and head stand alone",
        let(
            "layers",
            LAYERS,
            let(
                "near",
                nearest(
                    CANDIDATES,
                    n ->
                        n
                            + " * self.parallelism.virtualStages <= layers + 2 && "
                            + n
                            + " * self.parallelism.data % self.parallelism.ranksPerPod == 0 &&"
                            + " (self.parallelism.virtualStages == 1 || "
                            + SHARE
                            + " / "
                            + MICRO_BATCH
                            + " % "
                            + n
                            + " == 0)",
                    "self.parallelism.pipeline"),
                "'parallelism.pipeline: pipeline × virtualStages = %s chunks for the %s layers of"
                    + " %s; use at most %s, where embedding and head stand alone%s'"
                    + ".format([string(self.parallelism.pipeline * self.parallelism.virtualStages),"
                    + " string(layers), "
                    + MODEL
                    + ", string(layers + 2), size(near) == 0 ? '' : '; nearest pipeline that works: one"
                    + " of %s'.format([near])])")));
  }

  private static ValidationRule layoutHasAllLayers() {
    String last = "size(self.parallelism.layout) - 1";
    List<Integer> entries = IntStream.range(0, ENTRIES_TRIED).boxed().toList();
    return rule(
        ".parallelism.layout",
        "!"
            + KNOWN
            + " || !has(self.parallelism.layout) || size(self.parallelism.layout) !="
            + " self.parallelism.pipeline * self.parallelism.virtualStages ||"
            + " self.parallelism.layout.sum() == "
            + LAYERS,
        "parallelism.layout: must have as many layers as the model in all",
        let(
            "more",
            LAYERS + " - self.parallelism.layout.sum()",
            let(
                "entries",
                nearest(
                    entries,
                    n ->
                        n
                            + " <= "
                            + last
                            + " && self.parallelism.layout["
                            + n
                            + "] + more >= ("
                            + n
                            + " == 0 || "
                            + n
                            + " == "
                            + last
                            + " ? 0 : 1)",
                    "0"),
                "'parallelism.layout: %s layers in all, and %s has %s%s'"
                    + ".format([string(self.parallelism.layout.sum()), "
                    + MODEL
                    + ", string("
                    + LAYERS
                    + "), size(entries) == 0 ? '' : '; give %s %s to one of the entries %s, counted"
                    + " from 0'.format([string(more > 0 ? more : -more), more > 0 ? 'more' :"
                    + " 'fewer', entries])])")));
  }

  private static ValidationRule batchDivides() {
    return rule(
        ".batchTokens",
        "self.batchTokens % (self.sequenceLength * self.parallelism.data) == 0",
        "batchTokens: must be a multiple of sequenceLength × parallelism.data",
        "'batchTokens: %s is not a multiple of sequenceLength × parallelism.data = %s; use one"
            + " of %s'.format([string(self.batchTokens), string(self.sequenceLength *"
            + " self.parallelism.data), "
            + nearestBatches()
            + "])");
  }

  private static ValidationRule microBatchDivides() {
    return rule(
        ".parallelism.microBatchSequences",
        "!has(self.parallelism.microBatchSequences) || "
            + SHARE
            + " % self.parallelism.microBatchSequences == 0",
        "parallelism.microBatchSequences: must divide batchTokens / (sequenceLength ×"
            + " parallelism.data)",
        let(
            "share",
            SHARE,
            let(
                "near",
                nearest(
                    CANDIDATES,
                    n ->
                        "share % "
                            + n
                            + " == 0 && (self.parallelism.virtualStages == 1 || share / "
                            + n
                            + " % self.parallelism.pipeline == 0)",
                    "self.parallelism.microBatchSequences"),
                "'parallelism.microBatchSequences: %s does not divide the %s sequences of a rank"
                    + " (batchTokens / sequenceLength / data)%s'"
                    + ".format([string(self.parallelism.microBatchSequences), string(share),"
                    + " size(near) == 0 ? '' : '; use one of %s'.format([near])])")));
  }

  private static ValidationRule microBatchesInterleave() {
    return rule(
        ".parallelism.virtualStages",
        "self.parallelism.virtualStages == 1 || "
            + SHARE
            + " / "
            + MICRO_BATCH
            + " % self.parallelism.pipeline == 0",
        "parallelism.virtualStages: with more than 1, the micro-batches of a rank must be a"
            + " multiple of parallelism.pipeline",
        "'parallelism.virtualStages: %s virtual stages need a multiple of %s micro-batches, one for"
            + " each stage, and a rank has %s; use virtualStages 1, or for"
            + " batchTokens one of %s'.format([string(self.parallelism.virtualStages),"
            + " string(self.parallelism.pipeline), string("
            + SHARE
            + " / "
            + MICRO_BATCH
            + "), "
            + nearestBatches()
            + "])");
  }

  /** The multiples of {@link #UNIT} around the batch: one below where there is one, two above. */
  private static String nearestBatches() {
    return let(
        "unit",
        UNIT,
        "[0, 1, 2].map(k, ((self.batchTokens < unit ? 1 : self.batchTokens / unit) + k) * unit)");
  }

  /** CEL: the list of the three candidates that work and are nearest to a number. */
  private static String nearest(
      List<Integer> candidates, UnaryOperator<String> works, String wish) {
    return ("%1$s.filter(n, %2$s && "
            + "%1$s.filter(o, %3$s && (%5$s < %4$s || %5$s == %4$s && o < n)).size() < %6$d)")
        .formatted(
            candidates,
            works.apply("n"),
            works.apply("o"),
            distance("n", wish),
            distance("o", wish),
            NAMED);
  }

  private static String distance(String n, String wish) {
    return "(%1$s > %2$s ? %1$s - %2$s : %2$s - %1$s)".formatted(n, wish);
  }

  /** CEL: an expression in which a value has a name. */
  private static String let(String name, String value, String in) {
    return "[" + value + "].map(" + name + ", " + in + ")[0]";
  }

  /** CEL: a number of the model, from the preset's name or from its own field. */
  private static String ofModel(String field, ToIntFunction<ModelConfig> number) {
    return "(has(self.model.preset) ? "
        + table(number)
        + "[self.model.preset] : self.model.config."
        + field
        + ")";
  }

  /** CEL: a map from preset to one of its numbers. */
  static String table(ToIntFunction<ModelConfig> number) {
    return ModelPresets.all().entrySet().stream()
        .map(e -> "'" + e.getKey() + "': " + number.applyAsInt(e.getValue()))
        .collect(Collectors.joining(", ", "{", "}"));
  }

  private static ValidationRule rule(
      String field, String rule, String message, String messageExpression) {
    return new ValidationRuleBuilder()
        .withRule(rule)
        .withMessage(message)
        .withMessageExpression(messageExpression)
        .withFieldPath(field)
        .build();
  }
}
