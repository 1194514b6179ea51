package dev.perigee.cli;

import java.util.concurrent.atomic.AtomicBoolean;

/** What to do when Ctrl-C or SIGTERM ends the program. The JVM's exit code is then 128 + signal. */
final class Interruption {
  /** Something to do, which may take some seconds. */
  @FunctionalInterface
  interface Farewell {
    void run() throws InterruptedException;
  }

  private final AtomicBoolean over = new AtomicBoolean();

  private Interruption() {}

  /** Runs something when the program is interrupted before {@link #over}. */
  static Interruption onExit(Farewell farewell) {
    Interruption interruption = new Interruption();
    Thread hook =
        new Thread(
            () -> {
              if (interruption.over.compareAndSet(false, true)) {
                try {
                  farewell.run();
                } catch (InterruptedException e) {
                  Thread.currentThread().interrupt();
                }
              }
            },
            "perigee-farewell");
    Runtime.getRuntime().addShutdownHook(hook);
    return interruption;
  }

  /** From now on the end is an ordinary one; false when the interruption came first. */
  boolean over() {
    return over.compareAndSet(false, true);
  }
}
