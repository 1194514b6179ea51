package dev.perigee.cli;

import java.io.PrintWriter;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Shows jobs while they run: redrawn in place on a terminal, plain lines elsewhere. */
sealed interface ProgressView {
  /** Shows the jobs as they are now. */
  void show(List<JobView> jobs);

  /** Prints a line that stays. */
  void say(String line);

  /** Ends the view; nothing is redrawn any longer. */
  void end();

  /** The view for where the output goes. */
  static ProgressView forOutput(PrintWriter out, boolean terminal) {
    return terminal ? new Live(out) : new Plain(out, InstantSource.system());
  }

  /** Two lines a job, redrawn in place. */
  final class Live implements ProgressView {
    private static final int BAR = 30;
    private static final String ERASE_LINE = "\u001b[2K";

    // A line that wrapped would be two to erase: the terminal cuts it off at its edge instead.
    private static final String WRAP_OFF = "\u001b[?7l";
    private static final String WRAP_ON = "\u001b[?7h";

    private final PrintWriter out;
    private final Map<String, TimeLeft> left = new HashMap<>();
    private int drawn;
    private boolean ended;

    Live(PrintWriter out) {
      this.out = out;
    }

    @Override
    public synchronized void show(List<JobView> jobs) {
      if (ended) {
        return;
      }
      List<String> lines = new ArrayList<>();
      for (JobView job : jobs) {
        lines.addAll(lines(job));
      }
      erase();
      lines.forEach(line -> out.println(WRAP_OFF + line + WRAP_ON));
      out.flush();
      drawn = lines.size();
    }

    private List<String> lines(JobView job) {
      int full = (int) Math.round(job.fraction() * BAR);
      String bar = "█".repeat(full) + "░".repeat(BAR - full);
      Optional<Duration> time = timeLeft(left, job);
      return List.of(
          job.title()
              + "  "
              + bar
              + "  "
              + job.doing()
              + time.map(t -> "  " + TimeLeft.shown(t) + " left").orElse(""),
          "  " + job.numbers());
    }

    @Override
    public synchronized void say(String line) {
      erase();
      out.println(line);
      out.flush();
    }

    private void erase() {
      for (int i = 0; i < drawn; i++) {
        out.print("\u001b[1A" + ERASE_LINE + "\r");
      }
      drawn = 0;
    }

    @Override
    public synchronized void end() {
      ended = true;
      out.flush();
    }
  }

  /**
   * A line when a job does something else, every few seconds while its numbers move, else fewer.
   */
  final class Plain implements ProgressView {
    private static final Duration EVERY = Duration.ofSeconds(5);
    private static final Duration WHILE_STILL = Duration.ofSeconds(30);

    private final PrintWriter out;
    private final Map<String, TimeLeft> left = new HashMap<>();
    private final Map<String, Line> last = new HashMap<>();
    private final InstantSource clock;

    /** What was printed of a job, and when. */
    private record Line(String doing, String numbers, Instant when) {}

    Plain(PrintWriter out, InstantSource clock) {
      this.out = out;
      this.clock = clock;
    }

    @Override
    public synchronized void show(List<JobView> jobs) {
      for (JobView job : jobs) {
        Optional<Duration> time = timeLeft(left, job);
        Line now = new Line(job.doing(), job.numbers(), clock.instant());
        if (due(job, now)) {
          last.put(job.title(), now);
          out.println(
              job.title()
                  + "  "
                  + job.doing()
                  + (job.numbers().isEmpty() ? "" : "  " + job.numbers())
                  + time.map(t -> "  " + TimeLeft.shown(t) + " left").orElse(""));
        }
      }
    }

    private boolean due(JobView job, Line now) {
      Line before = last.get(job.title());
      if (before == null || !now.doing.equals(before.doing)) {
        return true;
      }
      Duration since = Duration.between(before.when, now.when);
      boolean moves = !now.numbers.equals(before.numbers);
      return job.outcome().isEmpty()
          && !now.numbers.isEmpty()
          && since.compareTo(moves ? EVERY : WHILE_STILL) >= 0;
    }

    @Override
    public synchronized void say(String line) {
      out.println(line);
    }

    @Override
    public synchronized void end() {
      out.flush();
    }
  }

  private static Optional<Duration> timeLeft(Map<String, TimeLeft> left, JobView job) {
    var progress = job.status().progress();
    if (progress == null || progress.step() == null || progress.totalSteps() == null) {
      return Optional.empty();
    }
    Optional<Duration> time =
        left.computeIfAbsent(job.title(), t -> new TimeLeft())
            .after(progress.step(), progress.totalSteps(), System.nanoTime());
    return job.outcome().isPresent() ? Optional.empty() : time;
  }
}
