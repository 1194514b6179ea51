package dev.perigee.trainer;

import dev.perigee.run.ExitCode;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Ends the process: once, with one exit status, and certainly. The first failure of any thread
 * decides; the others get a moment to hear of it, and then the process is gone whatever they do.
 */
final class Ending {
  /** Long enough for the other pods to be told, short beside their patience. */
  private static final Duration AFTER_FAILURE = Duration.ofMillis(1500);

  private final AtomicBoolean failed = new AtomicBoolean();
  private final AtomicBoolean ended = new AtomicBoolean();
  private volatile ExitCode exitCode = ExitCode.INTERNAL;

  /** Notes a failure and says it, if it is the first; the process ends soon by itself. */
  void failure(Throwable error, Progress progress) {
    if (!failed.compareAndSet(false, true)) {
      return;
    }
    Failure failure = Failure.of(error);
    exitCode = failure.exitCode();
    endWithin(AFTER_FAILURE);
    System.err.println("perigee-trainer: " + failure.message());
    if (failure.bug()) {
      error.printStackTrace();
    }
    System.err.flush();
    if (progress != null) {
      progress.failed(failure.message());
    }
  }

  /** Whether something has failed. */
  boolean hasFailed() {
    return failed.get();
  }

  /** The process ends after that time, if it has not by then. */
  private void endWithin(Duration patience) {
    Thread.ofPlatform()
        .daemon()
        .name("ending")
        .start(
            () -> {
              try {
                Thread.sleep(patience);
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
              now(exitCode);
            });
  }

  /** Ends the process, with the first failure's status if there was one. */
  void now(ExitCode wanted) {
    if (ended.compareAndSet(false, true)) {
      System.out.flush();
      System.err.flush();
      // Not exit(): a shutdown hook or a thread that hangs must not keep a gang waiting.
      Runtime.getRuntime().halt((failed.get() ? exitCode : wanted).code());
    }
  }

  /** The process ends with that status after that time, if it has not by then. */
  void within(Duration patience, ExitCode wanted) {
    if (!failed.get()) {
      exitCode = wanted;
    }
    endWithin(patience);
  }
}
