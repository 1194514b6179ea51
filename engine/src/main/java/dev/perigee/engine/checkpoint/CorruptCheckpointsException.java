package dev.perigee.engine.checkpoint;

/** There are checkpoints, and every one of them is damaged. The message names each fault. */
public final class CorruptCheckpointsException extends Exception {
  private static final long serialVersionUID = 1L;

  CorruptCheckpointsException(String message) {
    super(message);
  }
}
