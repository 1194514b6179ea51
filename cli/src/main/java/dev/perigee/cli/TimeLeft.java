package dev.perigee.cli;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Optional;

/** How long a job will still take, from the steps of the last half minute. */
final class TimeLeft {
  private static final Duration WINDOW = Duration.ofSeconds(30);

  private record Mark(long nanos, long step) {}

  private final Deque<Mark> marks = new ArrayDeque<>();

  /**
   * The time left, empty while too little is known.
   *
   * @param step steps done now
   * @param total steps of the whole job
   * @param nanoTime now, as of {@link System#nanoTime}
   */
  Optional<Duration> after(long step, long total, long nanoTime) {
    if (!marks.isEmpty() && step < marks.getLast().step()) {
      marks.clear(); // started again from a checkpoint
    }
    marks.addLast(new Mark(nanoTime, step));
    while (marks.size() > 2 && nanoTime - marks.getFirst().nanos() > WINDOW.toNanos()) {
      marks.removeFirst();
    }
    long steps = step - marks.getFirst().step();
    if (steps <= 0) {
      return Optional.empty();
    }
    double perStep = (double) (nanoTime - marks.getFirst().nanos()) / steps;
    return Optional.of(Duration.ofNanos((long) (perStep * (total - step))));
  }

  /** A duration as people say it: {@code 45 s}, {@code 3 min 10 s}, {@code 2 h 5 min}. */
  static String shown(Duration time) {
    long seconds = time.toSeconds();
    if (seconds < 60) {
      return seconds + " s";
    }
    return seconds < 3600
        ? seconds / 60 + " min " + seconds % 60 + " s"
        : seconds / 3600 + " h " + seconds / 60 % 60 + " min";
  }
}
