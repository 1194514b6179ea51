package dev.perigee.trainer;

import dev.perigee.engine.data.Sequence;
import java.util.Arrays;
import java.util.List;

/**
 * Windows over documents that score each token but a document's first exactly once. They overlap by
 * half, so that most tokens are predicted from at least half a window. Each is made when it is
 * asked for: all of them have four times as many numbers as the text, and every rank would hold
 * them.
 */
final class Windows {
  private final List<int[]> documents;
  private final int length;
  private final int stride;
  private final int padding;

  /** Windows of all documents before one, by its index, and after the last of all. */
  private final long[] before;

  /**
   * Windows over documents.
   *
   * @param documents token ids
   * @param length tokens of a window
   * @param padding what fills up a window that is longer than its document
   */
  Windows(List<int[]> documents, int length, int padding) {
    this.documents = documents;
    this.length = length;
    this.stride = Math.max(1, length / 2);
    this.padding = padding;
    this.before = new long[documents.size() + 1];
    for (int d = 0; d < documents.size(); d++) {
      before[d + 1] = before[d] + count(documents.get(d).length - 1);
    }
  }

  private int count(int targets) {
    return targets <= 0 ? 0 : 1 + Math.ceilDiv(Math.max(0, targets - length), stride);
  }

  /** How many there are. */
  long count() {
    return before[documents.size()];
  }

  /** The window of that number, from 0. */
  Sequence window(long number) {
    int found = Arrays.binarySearch(before, number);
    int d = found >= 0 ? found : -found - 2;
    while (before[d + 1] == number) { // a document without windows comes before this one
      d++;
    }
    return window(documents.get(d), (int) (number - before[d]));
  }

  private Sequence window(int[] document, int k) {
    int start = k * stride;
    int scored = k == 0 ? 0 : start - stride + length; // tokens that the windows before have scored
    int inputs = Math.min(length, document.length - 1 - start);
    int[] ids = new int[length];
    int[] targets = new int[length];
    Arrays.fill(ids, padding);
    Arrays.fill(targets, Sequence.NO_TARGET);
    System.arraycopy(document, start, ids, 0, inputs);
    for (int i = Math.max(0, scored - start); i < inputs; i++) {
      targets[i] = document[start + i + 1];
    }
    return new Sequence(ids, targets);
  }
}
