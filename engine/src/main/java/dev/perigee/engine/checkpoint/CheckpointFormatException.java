package dev.perigee.engine.checkpoint;

import java.io.IOException;
import java.nio.file.Path;

/** A file of a checkpoint is not what its format says. The message names the file and the fault. */
public final class CheckpointFormatException extends IOException {
  private static final long serialVersionUID = 1L;

  /** Says which file and what is wrong with it. */
  public CheckpointFormatException(Path file, String fault) {
    super(file + ": " + fault);
  }

  /** Says which file and what is wrong with it, and what showed it. */
  public CheckpointFormatException(Path file, String fault, Throwable cause) {
    super(file + ": " + fault, cause);
  }
}
