package dev.perigee.engine.cuda;

/** Says that an operation needs the host, so that it cannot be part of a recording. */
final class NotRecordableException extends IllegalStateException {
  private static final long serialVersionUID = 1;

  NotRecordableException(String what) {
    super(what + " cannot be recorded: it needs the host");
  }
}
