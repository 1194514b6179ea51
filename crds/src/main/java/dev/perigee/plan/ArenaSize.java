package dev.perigee.plan;

/** The engine's arena hands out memory in few sizes, so that near ones can share it. */
final class ArenaSize {
  private static final int SMALLEST = 256;

  private ArenaSize() {}

  /**
   * Numbers that a tensor of {@code n} numbers takes: the next of a series that grows by eighths.
   */
  static long of(long n) {
    if (n <= SMALLEST) {
      return SMALLEST;
    }
    long eighth = Long.highestOneBit(n - 1) / 4;
    return Math.ceilDiv(n, eighth) * eighth;
  }
}
