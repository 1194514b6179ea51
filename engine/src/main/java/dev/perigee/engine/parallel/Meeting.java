package dev.perigee.engine.parallel;

import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A barrier for the threads of this JVM that an {@link Alarm} breaks for good. Waiting threads are
 * parked: with more ranks than cores a spinning one would take the core that the others need.
 */
final class Meeting {
  private final int parties;
  private final Alarm alarm;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private int arrived;
  private long round;

  Meeting(int parties, Alarm alarm) {
    this.parties = parties;
    this.alarm = alarm;
    alarm.whenRung(this::wake);
  }

  /**
   * Returns when all parties have called it.
   *
   * @throws LostPeerException when the alarm rings first
   */
  void await() {
    lock.lock();
    try {
      alarm.check();
      if (++arrived == parties) {
        arrived = 0;
        round++;
        changed.signalAll();
        return;
      }
      long mine = round;
      while (round == mine) {
        changed.awaitUninterruptibly();
        if (round == mine) {
          alarm.check();
        }
      }
    } finally {
      lock.unlock();
    }
  }

  private void wake() {
    lock.lock();
    try {
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }
}
