package dev.perigee.trainer;

import dev.perigee.run.ExitCode;

/** The program cannot go on, for a reason that the reader can mend; the message is one line. */
final class TrainerException extends Exception {
  private static final long serialVersionUID = 1L;

  private final ExitCode exitCode;

  TrainerException(ExitCode exitCode, String message) {
    super(message);
    this.exitCode = exitCode;
  }

  TrainerException(ExitCode exitCode, String message, Throwable cause) {
    super(message, cause);
    this.exitCode = exitCode;
  }

  ExitCode exitCode() {
    return exitCode;
  }
}
