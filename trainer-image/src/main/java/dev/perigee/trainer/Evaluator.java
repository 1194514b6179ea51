package dev.perigee.trainer;

import dev.perigee.engine.data.Problem;
import dev.perigee.engine.data.Sequence;
import dev.perigee.engine.data.Tokenizer;
import dev.perigee.engine.data.TrainingData;
import dev.perigee.engine.generate.Generator;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Scores a model on what it was not trained on. The ranks share the work out and add up; with
 * experts spread over ranks they make the same number of passes, some perhaps over nothing.
 */
final class Evaluator {
  private static final int BATCH_TOKENS = 2048;
  private static final int SAMPLES = 3;
  private static final int SAMPLE_PROMPT_TOKENS = 48;
  private static final double SAMPLE_TEMPERATURE = 0.7;

  private final RunConfig config;
  private final TrainingData data;
  private final Model model;
  private final Fabric.Groups groups;

  Evaluator(RunConfig config, TrainingData data, Model model, Fabric.Groups groups) {
    this.config = config;
    this.data = data;
    this.model = model;
    this.groups = groups;
  }

  /** Collective: the scores after a step, the same on every rank but for the sample. */
  RunStatus.Evaluation evaluate(long step) {
    Double loss = null;
    Double bitsPerByte = null;
    Double exact = null;
    Integer asked = null;
    String sample;
    if (!data.heldOutTexts().isEmpty()) {
      double[] sums = textLoss();
      loss = sums[0] / sums[1];
      long bytes = data.heldOutTexts().stream().mapToLong(TrainingData.HeldOutText::bytes).sum();
      bitsPerByte = sums[0] / Math.log(2) / bytes;
    }
    if (data.heldOutProblems().isEmpty()) {
      sample = continueText(step);
    } else {
      List<String> said = new ArrayList<>();
      asked = data.heldOutProblems().size();
      exact = (double) answer(said) / asked;
      sample = String.join("\n", said);
    }
    return new RunStatus.Evaluation(step, loss, bitsPerByte, exact, asked, printable(sample));
  }

  /**
   * What a model of bytes says as something that a terminal can be shown: before it has learnt
   * better it says escape and bell as readily as a letter.
   */
  static String printable(String sample) {
    return sample.replaceAll("[\\p{Cc}&&[^\n\t]]", "\ufffd");
  }

  /** Cross-entropy over all held-out text in nats, and the tokens it was summed over. */
  private double[] textLoss() {
    List<int[]> texts = data.heldOutTexts().stream().map(TrainingData.HeldOutText::ids).toList();
    Windows windows = new Windows(texts, config.sequenceLength(), data.tokenizer().end());
    long share = Math.ceilDiv(windows.count(), groups.data().size());
    long first = Math.min(windows.count(), groups.data().index() * share);
    long count = Math.min(windows.count() - first, share);
    int length = config.sequenceLength();
    int batch = Math.max(1, BATCH_TOKENS / length);
    double[] sums = new double[2];
    for (long at = 0; at < share; at += batch) {
      int here = Math.clamp(count - at, 0, batch);
      int[] ids = new int[here * length];
      int[] targets = new int[here * length];
      for (int i = 0; i < here; i++) {
        Sequence window = windows.window(first + at + i);
        System.arraycopy(window.ids(), 0, ids, i * length, length);
        System.arraycopy(window.targets(), 0, targets, i * length, length);
      }
      sums[0] += model.forwardLoss(ids, targets, here, length);
      sums[1] += Arrays.stream(targets).filter(t -> t >= 0).count();
    }
    groups.data().allReduceSum(sums);
    return sums;
  }

  /** How many held-out problems the model answers exactly, over all ranks. */
  private long answer(List<String> said) {
    Tokenizer tokenizer = data.tokenizer();
    List<Problem> problems = data.heldOutProblems();
    List<Integer> mine = new ArrayList<>();
    int longest = 0;
    for (int i = 0; i < problems.size(); i++) {
      longest = Math.max(longest, tokenizer.encode(problems.get(i).answer()).length);
      if (i % groups.data().size() == groups.data().index()) {
        mine.add(i);
      }
    }
    int[][] prompts =
        mine.stream().map(i -> prompt(problems.get(i).prompt())).toArray(int[][]::new);
    int[][] answers =
        new Generator(model, groups.expert())
            .generate(prompts, longest + 1, tokenizer.end(), Generator.Sampling.GREEDY);
    double[] exact = new double[1];
    for (int k = 0; k < mine.size(); k++) {
      Problem problem = problems.get(mine.get(k));
      int[] right = tokenizer.encode(problem.answer());
      int[] given = answers[k];
      boolean ended = given.length > 0 && given[given.length - 1] == tokenizer.end();
      if (ended && Arrays.equals(right, Arrays.copyOf(given, given.length - 1))) {
        exact[0]++;
      }
      if (k < SAMPLES) {
        said.add(problem.prompt() + tokenizer.decode(given));
      }
    }
    groups.data().allReduceSum(exact);
    return (long) exact[0];
  }

  private int[] prompt(String text) {
    int[] inner = data.tokenizer().encode(text);
    int[] ids = new int[inner.length + 1];
    ids[0] = data.tokenizer().begin();
    System.arraycopy(inner, 0, ids, 1, inner.length);
    return ids;
  }

  /** What the first rank's model makes of the beginning of a held-out text. */
  private String continueText(long step) {
    int[] prompt = {data.tokenizer().begin()};
    if (!data.heldOutTexts().isEmpty()) {
      int[] document = data.heldOutTexts().getFirst().ids();
      int length = Math.min(SAMPLE_PROMPT_TOKENS, config.sequenceLength() / 2);
      prompt = Arrays.copyOf(document, Math.min(length, document.length - 1));
    }
    // Beyond the length that it was trained on, a model says little of sense.
    int room = config.sequenceLength() - prompt.length;
    int[][] prompts = groups.data().index() == 0 ? new int[][] {prompt} : new int[0][];
    int[][] said =
        new Generator(model, groups.expert())
            .generate(
                prompts,
                Math.max(room, 1),
                data.tokenizer().end(),
                new Generator.Sampling(SAMPLE_TEMPERATURE, config.seed() + step));
    return said.length == 0
        ? ""
        : data.tokenizer().decode(prompt) + data.tokenizer().decode(said[0]);
  }
}
