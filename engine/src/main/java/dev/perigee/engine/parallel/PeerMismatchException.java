package dev.perigee.engine.parallel;

/**
 * A pod of this job answered, but it works on something else: an older start of the gang, another
 * run configuration. Ends the program with BAD_CONFIG.
 */
public final class PeerMismatchException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** Says which peer, what it has, and what was expected. */
  public PeerMismatchException(String message) {
    super(message);
  }
}
