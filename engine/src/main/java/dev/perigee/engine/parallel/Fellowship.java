package dev.perigee.engine.parallel;

import java.util.Optional;
import java.util.function.Consumer;

/** Those who work together, as far as it matters whether they still do. */
public interface Fellowship {
  /** Somebody who works with nobody else. */
  Fellowship ALONE =
      new Fellowship() {
        @Override
        public Optional<String> failure() {
          return Optional.empty();
        }

        @Override
        public void whenEnded(Consumer<String> told) {}

        @Override
        public void abort(String reason) {}
      };

  /** Why work together has ended, empty while it has not. */
  Optional<String> failure();

  /**
   * Tells {@code told} why work together has ended, once it has; at once when it has already. Told
   * on the thread that finds out, which must not be kept.
   */
  void whenEnded(Consumer<String> told);

  /** Ends work together, for all, with a reason for people to read. */
  void abort(String reason);
}
