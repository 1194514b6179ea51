package dev.perigee.engine.backend;

/**
 * Work of a backend that is done again and again: the same operations of the same sizes, each time
 * on the same memory. Only the numbers differ, which the host puts into {@link
 * dev.perigee.engine.tensor.Indices.Slot}s and tensors that stay. A backend may record what it is
 * asked for and do it again without being asked, so the work must leave nothing behind on the host.
 */
public interface Routine extends AutoCloseable {
  /** Does the work once more. */
  void run();

  /** Forgets what was recorded. */
  @Override
  default void close() {}
}
