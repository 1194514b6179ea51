package dev.perigee.engine.cuda.driver;

/** Takes kernel launches in order: a {@link Stream}, or in tests a list. */
public interface Launcher {
  /** Queues a launch; returns before it has run. */
  void launch(Launch launch);

  /** What is queued here from now on runs after everything that {@code other} holds by now. */
  void after(Launcher other);
}
