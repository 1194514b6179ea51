package dev.perigee.engine.data;

import java.util.Arrays;
import java.util.SplittableRandom;

/**
 * Sequences of {@link Arithmetic} problems, each with begin and end, whole problems only; the rest
 * of a sequence is filled with ends. Only answers (and their ends) are targets: the questions are
 * random, so there is nothing in them to learn.
 */
final class ArithmeticSource implements SequenceSource {
  private final Tokenizer tokenizer;
  private final int length;
  private final long seed;

  private ArithmeticSource(Tokenizer tokenizer, int length, long seed) {
    this.tokenizer = tokenizer;
    this.length = length;
    this.seed = seed;
  }

  /**
   * Problems in sequences of a length.
   *
   * @throws DataException when a sequence is too short for some problem
   */
  static ArithmeticSource of(String name, Tokenizer tokenizer, int length, long seed)
      throws DataException {
    ArithmeticSource source = new ArithmeticSource(tokenizer, length, seed);
    SplittableRandom random = Shuffle.random(0, 0);
    int longest = 0;
    for (int i = 0; i < 10_000; i++) {
      longest = Math.max(longest, source.encode(Arithmetic.problem(random, false)).ids.length);
    }
    // A problem's last token is only ever a target, so it needs no place among the inputs.
    if (longest - 1 > length) {
      throw DataException.misplaced(
          "data source "
              + name
              + ": sequenceLength "
              + length
              + " is too short for a problem of builtin "
              + Arithmetic.NAME
              + "; expected at least "
              + (longest - 1));
    }
    return source;
  }

  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Encoded(int[] ids, int answerFrom) {}

  private Encoded encode(Problem problem) {
    int[] prompt = tokenizer.encode(problem.prompt());
    int[] answer = tokenizer.encode(problem.answer());
    int[] ids = new int[prompt.length + answer.length + 2];
    ids[0] = tokenizer.begin();
    System.arraycopy(prompt, 0, ids, 1, prompt.length);
    System.arraycopy(answer, 0, ids, 1 + prompt.length, answer.length);
    ids[ids.length - 1] = tokenizer.end();
    return new Encoded(ids, 1 + prompt.length);
  }

  @Override
  public Sequence sequence(long number) {
    SplittableRandom random = Shuffle.random(seed, number);
    int[] ids = new int[length + 1];
    int[] targets = new int[length + 1]; // targets[i] is what ids[i] is as a target
    Arrays.fill(ids, tokenizer.end());
    Arrays.fill(targets, Sequence.NO_TARGET);
    int at = 0;
    while (true) {
      Encoded next = encode(Arithmetic.problem(random, false));
      if (at + next.ids.length > length + 1) {
        break;
      }
      System.arraycopy(next.ids, 0, ids, at, next.ids.length);
      for (int i = next.answerFrom; i < next.ids.length; i++) {
        targets[at + i] = next.ids[i];
      }
      at += next.ids.length;
    }
    return new Sequence(Arrays.copyOf(ids, length), Arrays.copyOfRange(targets, 1, length + 1));
  }
}
