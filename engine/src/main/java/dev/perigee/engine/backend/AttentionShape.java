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

  /** Elements that the probabilities of all heads take: B · H · T · T. */
  public int probabilities() {
    return Math.multiplyExact(Math.multiplyExact(batch, heads), Math.multiplyExact(length, length));
  }
}
