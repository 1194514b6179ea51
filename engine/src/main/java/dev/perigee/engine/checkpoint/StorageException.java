package dev.perigee.engine.checkpoint;

/** The volume refuses writes; checkpoints that were complete are untouched. */
public class StorageException extends Exception {
  private static final long serialVersionUID = 1L;

  /** Says what could not be written and why. */
  public StorageException(String message, Throwable cause) {
    super(message, cause);
  }
}
