package dev.perigee.engine.data;

import dev.perigee.run.ExitCode;

/**
 * Data is not there or is not what it should be. The message names the source, the file and the
 * line, what was expected, and what to do.
 */
public final class DataException extends Exception {
  private static final long serialVersionUID = 1L;

  private final ExitCode exitCode;

  private DataException(ExitCode exitCode, String message, Throwable cause) {
    super(message, cause);
    this.exitCode = exitCode;
  }

  /** The place or the amount of the data is wrong: a matter of configuration. */
  static DataException misplaced(String message) {
    return new DataException(ExitCode.BAD_CONFIG, message, null);
  }

  /** The bytes of the data are wrong. */
  static DataException damaged(String message) {
    return new DataException(ExitCode.CORRUPT_DATA, message, null);
  }

  /** The volume cannot be read. */
  static DataException unreadable(String message, Throwable cause) {
    return new DataException(ExitCode.STORAGE, message, cause);
  }

  /** How a program that cannot go on without the data ends. */
  public ExitCode exitCode() {
    return exitCode;
  }
}
