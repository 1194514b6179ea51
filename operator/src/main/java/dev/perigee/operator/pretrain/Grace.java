package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import java.util.Optional;

/** How long a pod gets between SIGTERM and SIGKILL: the time to finish a step and save. */
final class Grace {
  /** Before anything was measured. */
  private static final long UNMEASURED_SECONDS = 600;

  /** What a program needs beside steps and saves. */
  private static final long SHORTEST_SECONDS = 60;

  private static final long LONGEST_SECONDS = 86400;

  private Grace() {}

  /**
   * What the job asks for, else twice what a step and a save were measured to take: a save may have
   * begun when the signal comes, and then another follows.
   */
  static long seconds(PretrainJob job) {
    Long asked = job.getSpec().podOverrides().terminationGracePeriodSeconds();
    if (asked != null) {
      return asked;
    }
    Optional<PretrainJobStatus> status = Optional.ofNullable(job.getStatus());
    Optional<Double> save = status.map(s -> s.lastDurableCheckpoint()).map(c -> c.seconds());
    double step = status.map(s -> s.progress()).map(p -> p.stepSeconds()).orElse(0.0);
    return save.map(s -> SHORTEST_SECONDS + (long) Math.ceil(2 * (s + step)))
        .map(s -> Math.min(s, LONGEST_SECONDS))
        .orElse(UNMEASURED_SECONDS);
  }
}
