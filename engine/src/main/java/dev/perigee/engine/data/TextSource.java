package dev.perigee.engine.data;

import java.util.ArrayList;
import java.util.List;

/**
 * Sequences from documents. The documents' tokens, each with begin and end, lie one after the other
 * in a ring; an epoch cuts the ring into windows of a sequence's length, from another start and in
 * another order every time. A position's target may be the first token of the next window or
 * document.
 */
final class TextSource implements SequenceSource {
  private final int[] ring;
  private final int length;
  private final int windows;
  private final long seed;
  private volatile Epoch epoch;

  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Epoch(long number, int start, int[] order) {}

  private TextSource(int[] ring, int length, long seed) {
    this.ring = ring;
    this.length = length;
    this.windows = ring.length / length;
    this.seed = seed;
    this.epoch = shuffled(0);
  }

  /**
   * Cuts documents into sequences.
   *
   * @param name of the source, for the message
   * @param documents the training documents' texts
   * @param length tokens of a sequence
   * @throws DataException when there are fewer tokens than one sequence takes
   */
  static TextSource of(
      String name, List<String> documents, Tokenizer tokenizer, int length, long seed)
      throws DataException {
    List<int[]> encoded = new ArrayList<>(documents.size());
    long total = 0;
    for (String text : documents) {
      int[] ids = tokenizer.encode(text);
      encoded.add(ids);
      total += ids.length + 2;
    }
    if (total < length + 1L) {
      throw DataException.misplaced(
          "data source "
              + name
              + ": nothing to train on: "
              + total
              + " tokens are fewer than one sequence of "
              + length
              + " and its target; give more text or a smaller sequenceLength");
    }
    if (total > Integer.MAX_VALUE - 8) {
      throw DataException.misplaced(
          "data source " + name + ": " + total + " tokens; at most 2147483639 fit one source");
    }
    int[] ring = new int[(int) total];
    int at = 0;
    for (int[] ids : encoded) {
      ring[at++] = tokenizer.begin();
      System.arraycopy(ids, 0, ring, at, ids.length);
      at += ids.length;
      ring[at++] = tokenizer.end();
    }
    return new TextSource(ring, length, seed);
  }

  /** Tokens of the source, each seen once in an epoch but for a rest shorter than a sequence. */
  int tokens() {
    return ring.length;
  }

  @Override
  public Sequence sequence(long number) {
    Epoch e = epoch;
    if (e.number != number / windows) {
      e = shuffled(number / windows);
      epoch = e;
    }
    long first = e.start + (long) e.order[(int) (number % windows)] * length;
    int[] ids = new int[length];
    int[] targets = new int[length];
    for (int i = 0; i < length; i++) {
      ids[i] = ring[(int) ((first + i) % ring.length)];
      targets[i] = ring[(int) ((first + i + 1) % ring.length)];
    }
    return new Sequence(ids, targets);
  }

  private Epoch shuffled(long number) {
    var random = Shuffle.random(seed, number);
    int start = random.nextInt(ring.length);
    return new Epoch(number, start, Shuffle.permutation(windows, random));
  }
}
