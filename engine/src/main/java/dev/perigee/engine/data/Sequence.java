package dev.perigee.engine.data;

/**
 * One training sequence.
 *
 * @param ids token ids, {@code sequenceLength} of them
 * @param targets the token that follows each; {@link #NO_TARGET} where nothing is to be learnt
 */
@SuppressWarnings("ArrayRecordComponent") // never compared
public record Sequence(int[] ids, int[] targets) {
  /** Marks a position whose next token does not count in the loss. */
  public static final int NO_TARGET = -1;
}
