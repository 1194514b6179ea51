package dev.perigee.engine.cuda;

/** Takes kernel launches in order: a {@link Stream}, or in tests a list. */
@FunctionalInterface
public interface Launcher {
  /** Queues a launch; returns before it has run. */
  void launch(Launch launch);
}
