package dev.perigee.engine.parallel;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;

/** Rung once when work together has become impossible; everybody who waits is woken by it. */
final class Alarm {
  private final AtomicReference<String> reason = new AtomicReference<>();
  private final List<Runnable> wakers = new CopyOnWriteArrayList<>();

  /** Runs {@code waker} when the alarm rings, at once when it has rung already. */
  void whenRung(Runnable waker) {
    wakers.add(waker);
    if (reason.get() != null) {
      waker.run();
    }
  }

  /** Rings; only the first reason counts. */
  void ring(String why) {
    if (reason.compareAndSet(null, why)) {
      wakers.forEach(Runnable::run);
    }
  }

  /** Why it rang, null when it has not. */
  String reason() {
    return reason.get();
  }

  /**
   * Returns when all is well.
   *
   * @throws LostPeerException when the alarm has rung
   */
  void check() {
    String why = reason.get();
    if (why != null) {
      throw new LostPeerException(why);
    }
  }
}
