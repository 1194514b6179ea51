package dev.perigee.engine.train;

/** Training sequences by their number over the whole job, whichever rank asks. */
@FunctionalInterface
public interface Sequences {
  /**
   * Writes one sequence.
   *
   * @param number from 0; step s of a job with B sequences a step takes (s − 1) · B to s · B − 1
   * @param ids receives the tokens, from {@code at}
   * @param targets receives the token that follows each, negative where none is to be learned
   */
  void read(long number, int[] ids, int[] targets, int at);
}
