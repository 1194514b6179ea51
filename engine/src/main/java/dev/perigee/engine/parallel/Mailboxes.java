package dev.perigee.engine.parallel;

import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** What ranks of one JVM have sent each other and nobody has taken yet. */
final class Mailboxes {
  /** A stream of letters between two members of a group. */
  record Address(int from, int to, int stream) {}

  private final Alarm alarm;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition arrived = lock.newCondition();
  private final Map<Address, Queue<float[]>> boxes = new HashMap<>();

  Mailboxes(Alarm alarm) {
    this.alarm = alarm;
    alarm.whenRung(this::wake);
  }

  /** Leaves a letter; the numbers are not copied. */
  void put(Address address, float[] numbers) {
    alarm.check();
    lock.lock();
    try {
      boxes.computeIfAbsent(address, a -> new ArrayDeque<>()).add(numbers);
      arrived.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /**
   * Waits for the next letter.
   *
   * @throws LostPeerException when the alarm rings first
   */
  float[] take(Address address) {
    lock.lock();
    try {
      Queue<float[]> box = boxes.computeIfAbsent(address, a -> new ArrayDeque<>());
      while (box.isEmpty()) {
        alarm.check();
        arrived.awaitUninterruptibly();
      }
      return box.remove();
    } finally {
      lock.unlock();
    }
  }

  private void wake() {
    lock.lock();
    try {
      arrived.signalAll();
    } finally {
      lock.unlock();
    }
  }
}
