package dev.perigee.engine.checkpoint;

/** Another run writes to the same checkpoints by now; this one has to leave them alone. */
public final class SupersededException extends StorageException {
  private static final long serialVersionUID = 1L;

  /** Says which, as far as it is known. */
  public SupersededException(String message) {
    super(message, null);
  }
}
