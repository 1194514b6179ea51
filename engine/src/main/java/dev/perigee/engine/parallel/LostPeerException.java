package dev.perigee.engine.parallel;

/** A rank that this one works with never came, or went away. Ends the program with LOST_PEER. */
public final class LostPeerException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** Says which peer and what was seen. */
  public LostPeerException(String message) {
    super(message);
  }

  /** Says which peer, what was seen, and why. */
  public LostPeerException(String message, Throwable cause) {
    super(message, cause);
  }
}
