package dev.perigee.engine.train;

/** A loss or a gradient is not a finite number: training cannot go on. */
public final class NotFiniteException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** Says which step, what was not finite, and where. */
  public NotFiniteException(String message) {
    super(message);
  }
}
