package dev.perigee.cli;

import java.io.IOException;
import java.util.concurrent.atomic.AtomicReference;

/** What to do when Ctrl-C or SIGTERM ends the program. The JVM's exit code is then 128 + signal. */
final class Interruption {
  /** Something to do, which may take some seconds. */
  @FunctionalInterface
  interface Farewell {
    void run() throws IOException, InterruptedException;
  }

  private enum End {
    ORDINARY,
    INTERRUPTED
  }

  private final AtomicReference<End> end = new AtomicReference<>();

  private Interruption() {}

  /** Runs something when the program is interrupted before {@link #over}. */
  static Interruption onExit(Farewell farewell) {
    Interruption interruption = new Interruption();
    Thread hook =
        new Thread(
            () -> {
              if (interruption.end.compareAndSet(null, End.INTERRUPTED)) {
                try {
                  farewell.run();
                } catch (InterruptedException e) {
                  Thread.currentThread().interrupt();
                } catch (IOException e) {
                  System.err.println("perigee: " + e.getMessage());
                }
              }
            },
            "perigee-farewell");
    Runtime.getRuntime().addShutdownHook(hook);
    return interruption;
  }

  /**
   * From now on the end is an ordinary one. When the interruption came first, waits for the JVM's.
   */
  void over() throws InterruptedException {
    if (!end.compareAndSet(null, End.ORDINARY) && end.get() == End.INTERRUPTED) {
      Thread.sleep(Long.MAX_VALUE);
    }
  }
}
