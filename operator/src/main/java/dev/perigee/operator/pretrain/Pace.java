package dev.perigee.operator.pretrain;

import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import java.time.Duration;
import java.util.stream.Stream;

/**
 * How often a running job is looked at. Every look at a job that trains finds new numbers and
 * writes them to its status, which costs the API server some twenty milliseconds of a core; so all
 * jobs together are looked at {@value #LOOKS_PER_SECOND} times a second at most. What happens to a
 * pod is seen at once all the same, because pods are watched.
 */
final class Pace {
  static final int LOOKS_PER_SECOND = 10;

  private Pace() {}

  /** Jobs that are looked at again and again: all that have not ended and are not suspended. */
  static long busy(Stream<PretrainJob> jobs) {
    return jobs.filter(
            job ->
                job.getStatus() == null
                    || !(job.getStatus().holds(ConditionType.Complete)
                        || job.getStatus().holds(ConditionType.Failed)
                        || job.getStatus().holds(ConditionType.Suspended)))
        .count();
  }

  /**
   * Time between two looks at one job.
   *
   * @param shortest time when there are few
   * @param busy jobs that are looked at again and again
   */
  static Duration between(Duration shortest, long busy) {
    Duration fair = Duration.ofMillis(busy * 1000 / LOOKS_PER_SECOND);
    return fair.compareTo(shortest) > 0 ? fair : shortest;
  }
}
