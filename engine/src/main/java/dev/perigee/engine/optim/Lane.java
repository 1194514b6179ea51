package dev.perigee.engine.optim;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * Exchanges that go on beside what a rank computes: one after the other, in the order in which they
 * were put in, which must be the same on every rank. Belongs to one rank's thread. An exchange ends
 * by itself when a peer is lost, so nothing here waits for ever.
 */
final class Lane {
  private CompletableFuture<Void> last = CompletableFuture.completedFuture(null);

  /** Puts in an exchange; it begins when those before it have ended, unless one has failed. */
  void start(Runnable exchange) {
    last =
        last.thenRunAsync(
            exchange,
            task -> Thread.ofPlatform().daemon().name("exchange of a bucket").start(task));
  }

  /**
   * Returns when everything put in so far has ended.
   *
   * @throws RuntimeException what the first exchange that failed threw, for example {@link
   *     dev.perigee.engine.parallel.LostPeerException}
   */
  void finish() {
    try {
      last.join();
    } catch (CompletionException e) {
      if (e.getCause() instanceof RuntimeException cause) {
        throw cause;
      }
      throw e;
    }
  }
}
