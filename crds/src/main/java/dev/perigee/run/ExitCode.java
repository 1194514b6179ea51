package dev.perigee.run;

import java.util.Optional;

/** How a program in a pod ends, and what the operator should make of it. */
public enum ExitCode {
  /** Everything asked for is done and saved. */
  DONE(0, false),
  /** An error that no other code names (a bug). A restart may or may not help. */
  INTERNAL(1, true),
  /** The run configuration, the data's place or the checkpoint's shape is wrong. Never retried. */
  BAD_CONFIG(64, false),
  /** Data is damaged (not JSON, not UTF-8, checksums of every checkpoint wrong). Never retried. */
  CORRUPT_DATA(65, false),
  /** A peer never came, or went away. The gang is restarted. */
  LOST_PEER(69, true),
  /** The host or the device has no memory left. */
  OUT_OF_MEMORY(71, true),
  /** The volume is full or refuses writes; the last durable checkpoint is untouched. */
  STORAGE(74, true),
  /** Stopped on request (SIGTERM, POST /stop) after a checkpoint was saved. */
  STOPPED(75, true);

  private final int code;
  private final boolean restartable;

  ExitCode(int code, boolean restartable) {
    this.code = code;
    this.restartable = restartable;
  }

  /** The process exit status. */
  public int code() {
    return code;
  }

  /** Whether a restart from the last durable checkpoint can help. */
  public boolean restartable() {
    return restartable;
  }

  /** The meaning of an exit status, empty for one that Perigee's programs never give. */
  public static Optional<ExitCode> of(int code) {
    for (ExitCode e : values()) {
      if (e.code == code) {
        return Optional.of(e);
      }
    }
    return Optional.empty();
  }
}
