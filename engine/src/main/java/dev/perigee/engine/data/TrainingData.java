package dev.perigee.engine.data;

import dev.perigee.run.RunConfig;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/**
 * All the data of a run, loaded once in a pod and shared by its ranks: training sequences by
 * number, and what is held out for scoring.
 */
public final class TrainingData {
  private final Mixture mixture;
  private final Tokenizer tokenizer;
  private final List<HeldOutText> heldOutTexts;
  private final List<Problem> heldOutProblems;
  private final List<Fingerprint> fingerprints;
  private final SequencedMap<String, String> composition;
  private final String summary;

  private TrainingData(
      Mixture mixture,
      Tokenizer tokenizer,
      List<HeldOutText> heldOutTexts,
      List<Problem> heldOutProblems,
      List<Fingerprint> fingerprints,
      SequencedMap<String, String> composition,
      String summary) {
    this.mixture = mixture;
    this.tokenizer = tokenizer;
    this.heldOutTexts = List.copyOf(heldOutTexts);
    this.heldOutProblems = List.copyOf(heldOutProblems);
    this.fingerprints = List.copyOf(fingerprints);
    this.composition = Collections.unmodifiableSequencedMap(composition);
    this.summary = summary;
  }

  /**
   * A document that is scored but not trained on.
   *
   * @param ids its tokens with begin and end
   * @param bytes length of its text in UTF-8
   */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  public record HeldOutText(int[] ids, int bytes) {}

  /**
   * Reads everything that a run asks for.
   *
   * @param config has no {@link RunConfig#problems()}
   * @param root what relative paths are relative to
   * @throws DataException when something is missing or damaged
   */
  public static TrainingData load(RunConfig config, Path root) throws DataException {
    Tokenizer tokenizer = Tokenizer.of(config.tokenizer(), root);
    RunConfig.Evaluation evaluation =
        config.evaluation() == null ? new RunConfig.Evaluation(0, 0, 0) : config.evaluation();
    List<SequenceSource> sources = new ArrayList<>();
    List<HeldOutText> heldOutTexts = new ArrayList<>();
    List<Problem> problems = new ArrayList<>();
    List<Fingerprint> fingerprints = new ArrayList<>();
    tokenizer.fingerprint().ifPresent(fingerprints::add);
    SequencedMap<String, String> composition = new LinkedHashMap<>();
    composition.put(
        "tokenizer",
        config.tokenizer().kind() + tokenizer.fingerprint().map(f -> ", " + f).orElse(""));
    List<String> summary = new ArrayList<>();
    double[] weights = new double[config.data().size()];
    for (int k = 0; k < weights.length; k++) {
      RunConfig.DataSource source = config.data().get(k);
      weights[k] = source.weight();
      long seed = config.seed() * 31 + k;
      String read;
      if (source.builtin() != null) {
        if (!source.builtin().equals(Arithmetic.NAME)) {
          throw DataException.misplaced(
              "data["
                  + k
                  + "].builtin: "
                  + source.builtin()
                  + " is no generator; expected "
                  + Arithmetic.NAME);
        }
        sources.add(ArithmeticSource.of(source.name(), tokenizer, config.sequenceLength(), seed));
        Arithmetic.checkHeldOut(evaluation.problems());
        problems.addAll(Arithmetic.heldOut(evaluation.problems(), config.seed()));
        read = "builtin " + source.builtin();
        summary.add(source.name() + ": " + read);
      } else {
        Path path = root.resolve(source.path());
        TextFiles.Texts texts = TextFiles.read(source.name(), path);
        read = texts.fingerprint().toString();
        fingerprints.add(texts.fingerprint());
        HoldOut split = HoldOut.of(texts.documents(), evaluation.heldOutFraction());
        TextSource text =
            TextSource.of(
                source.name(), split.training(), tokenizer, config.sequenceLength(), seed);
        sources.add(text);
        for (String heldOut : split.heldOut()) {
          heldOutTexts.add(heldOut(heldOut, tokenizer));
        }
        summary.add(
            "%s: %d documents of %d tokens, %d held out%s"
                .formatted(
                    source.name(),
                    split.training().size(),
                    text.tokens(),
                    split.heldOut().size(),
                    leftAlone(TextFiles.foldersIn(path))));
      }
      composition.put(
          "data[" + k + "]",
          "%s with weight %s, %s".formatted(source.name(), source.weight(), read));
    }
    composition.put("evaluation.heldOutFraction", "" + evaluation.heldOutFraction());
    return new TrainingData(
        new Mixture(sources, weights, config.seed()),
        tokenizer,
        heldOutTexts,
        problems,
        fingerprints,
        composition,
        String.join("; ", summary));
  }

  /** Who has text in folders of a folder should hear that it is not learnt. */
  private static String leftAlone(long folders) {
    return folders == 0 ? "" : ", %d folders in it not read".formatted(folders);
  }

  private static HeldOutText heldOut(String text, Tokenizer tokenizer) {
    int[] inner = tokenizer.encode(text);
    int[] ids = new int[inner.length + 2];
    ids[0] = tokenizer.begin();
    System.arraycopy(inner, 0, ids, 1, inner.length);
    ids[ids.length - 1] = tokenizer.end();
    return new HeldOutText(ids, text.getBytes(StandardCharsets.UTF_8).length);
  }

  /** Sequence {@code i} of the job, counted from 0 over all steps and ranks. */
  public Sequence sequence(long i) {
    return mixture.sequence(i);
  }

  /** How text becomes ids. */
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /** Documents of {@code path} sources that are held out. */
  public List<HeldOutText> heldOutTexts() {
    return heldOutTexts;
  }

  /** Problems of {@code builtin} sources that are held out. */
  public List<Problem> heldOutProblems() {
    return heldOutProblems;
  }

  /**
   * Of everything that was read from files, in the order of the configuration, so that the pods of
   * a job can see whether they have read the same.
   */
  public List<Fingerprint> fingerprints() {
    return fingerprints;
  }

  /**
   * What it is made of, by the configuration's fields and in words: as long as all of them, the
   * seed and the length of a sequence stay as they are, each number stands for the same sequence.
   */
  public SequencedMap<String, String> composition() {
    return composition;
  }

  /** One line for a person. */
  @Override
  public String toString() {
    return summary;
  }
}
