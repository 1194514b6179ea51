package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.DeviceMemory;
import dev.perigee.engine.cuda.driver.Queue;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;

/**
 * Device memory in few sizes, handed out again and again: once as much has been handed out as is
 * needed at a time, nothing is allocated any more. Any thread may ask on which the device is
 * current.
 */
final class Rooms {
  private static final long SMALLEST = 256;

  private final DeviceMemory memory;
  private final Map<Long, Deque<Room>> idle = new HashMap<>();

  Rooms(DeviceMemory memory) {
    this.memory = memory;
  }

  /**
   * Some memory.
   *
   * @param buffer at least as long as was asked for
   * @param busy work that still uses it is before this; null for none
   */
  private record Room(DeviceBuffer buffer, Queue.Mark busy) {}

  /** Memory of at least so many bytes that nobody uses, so that its user need not wait. */
  synchronized DeviceBuffer take(long bytes) {
    long size = size(bytes);
    Deque<Room> reusable = idle.get(size);
    if (reusable == null || reusable.isEmpty()) {
      return memory.allocate(size);
    }
    Queue.Mark busy = reusable.element().busy; // of the one that has been idle the longest
    if (busy != null) {
      if (!busy.isPast()) {
        return memory.allocate(size);
      }
      busy.close();
    }
    return reusable.remove().buffer;
  }

  /** Takes back what {@link #take} gave and nobody uses any more. */
  void giveBack(DeviceBuffer buffer) {
    giveBack(buffer, null);
  }

  /**
   * Takes back what {@link #take} gave.
   *
   * @param busy queued work that uses it is before this, which is closed here
   */
  synchronized void giveBack(DeviceBuffer buffer, Queue.Mark busy) {
    idle.computeIfAbsent(buffer.bytes(), n -> new ArrayDeque<>()).add(new Room(buffer, busy));
  }

  /** Powers of two. */
  private static long size(long bytes) {
    return bytes <= SMALLEST ? SMALLEST : Long.highestOneBit(bytes - 1) * 2;
  }
}
