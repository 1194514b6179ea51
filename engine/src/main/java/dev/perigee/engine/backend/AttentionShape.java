package dev.perigee.engine.backend;

/**
 * Sizes of multi-head latent attention over a batch of sequences.
 *
 * @param batch sequences (B)
 * @param length tokens of each (T); token rows are sequence after sequence
 * @param heads heads (H)
 * @param nope width of a head's query and key without position (N)
 * @param rope width with rotary position (R)
 * @param value width of a head's value (V)
 * @param scale factor on the logits
 */
public record AttentionShape(
    int batch, int length, int heads, int nope, int rope, int value, float scale) {

  /** What to do about a tensor that is too large. */
  static final String SMALLER =
      "use smaller micro-batches (microBatchSequences) or shorter sequences";

  /**
   * Elements that the probabilities of all heads take: B · H · T · T.
   *
   * @throws IllegalArgumentException when no tensor has as many
   */
  public int probabilities() {
    double all = (double) batch * heads * length * length;
    if (all > Arena.LARGEST) {
      throw new IllegalArgumentException(
          ("attention over %d sequences of %d tokens keeps %.0f probabilities of %d heads in a"
                  + " tensor, which can have %d numbers; %s")
              .formatted(batch, length, all, heads, Arena.LARGEST, SMALLER));
    }
    return (int) all;
  }
}
