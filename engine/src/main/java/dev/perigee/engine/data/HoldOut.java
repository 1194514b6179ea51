package dev.perigee.engine.data;

import java.util.ArrayList;
import java.util.List;

/**
 * Documents to train on, and documents that are only ever scored.
 *
 * @param training at least one
 * @param heldOut none when the fraction is 0
 */
record HoldOut(List<String> training, List<String> heldOut) {

  /**
   * Splits documents: evenly spread ones are held out, so that both parts are alike; of a single
   * document its end is.
   *
   * @param fraction share of the documents to hold out; at least one when positive
   */
  static HoldOut of(List<String> documents, double fraction) {
    int n = documents.size();
    if (fraction <= 0) {
      return new HoldOut(documents, List.of());
    }
    if (n == 1) {
      String text = documents.getFirst();
      int cut = (int) Math.floor(text.length() * (1 - fraction));
      if (cut > 0 && cut < text.length() && Character.isLowSurrogate(text.charAt(cut))) {
        cut--; // keep a pair of surrogates together
      }
      return cut == 0 || cut == text.length()
          ? new HoldOut(documents, List.of())
          : new HoldOut(List.of(text.substring(0, cut)), List.of(text.substring(cut)));
    }
    int count = Math.clamp(Math.round(n * fraction), 1, n - 1);
    List<String> training = new ArrayList<>(n - count);
    List<String> heldOut = new ArrayList<>(count);
    for (int i = 0; i < n; i++) {
      // Document i is the middle one of a stretch of n / count.
      long before = (2L * i * count + n) / (2L * n);
      long after = (2L * (i + 1) * count + n) / (2L * n);
      (after > before ? heldOut : training).add(documents.get(i));
    }
    return new HoldOut(training, heldOut);
  }
}
