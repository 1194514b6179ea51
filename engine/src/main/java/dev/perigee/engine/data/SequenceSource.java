package dev.perigee.engine.data;

/** Something that gives an endless row of training sequences, each by its number. */
public sealed interface SequenceSource permits TextSource, ArithmeticSource {
  /**
   * The sequence of that number, counted from 0 within this source; the same number gives the same
   * sequence always.
   */
  Sequence sequence(long number);
}
