package dev.perigee.operator.pretrain;

import dev.perigee.api.GangAttempt;
import dev.perigee.api.GangFailure;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.WrittenTime;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * What is measured of a change between two statuses of a job.
 *
 * @param broke why the gang broke, empty when it did not
 * @param lostSteps steps that have to be taken again because of it
 * @param startTook from when a start could begin to its first step, empty when that was not now
 */
record Milestones(Optional<GangFailure> broke, long lostSteps, Optional<Duration> startTook) {

  /** A pure function of the two. */
  static Milestones between(PretrainJobStatus before, PretrainJobStatus after, Instant now) {
    Optional<GangFailure> broke =
        Optional.ofNullable(after.lastFailure())
            .filter(failure -> !failure.equals(before.lastFailure()));
    return new Milestones(
        broke,
        broke.isPresent() ? lost(after) : 0,
        trains(after) && !(trains(before) && isSameStart(before, after))
            ? begin(after).map(begin -> Duration.between(begin, now))
            : Optional.empty());
  }

  private static boolean isSameStart(PretrainJobStatus before, PretrainJobStatus after) {
    return Objects.equals(before.attempt().number(), after.attempt().number());
  }

  private static boolean trains(PretrainJobStatus status) {
    return status.attempt() != null && status.attempt().phase() == GangAttempt.Phase.Training;
  }

  private static Optional<Instant> begin(PretrainJobStatus status) {
    return Stream.of(status.startTime(), status.attempt().notBefore())
        .flatMap(time -> WrittenTime.read(time).stream())
        .max(Comparator.naturalOrder());
  }

  private static long lost(PretrainJobStatus status) {
    if (status.progress() == null || status.progress().step() == null) {
      return 0;
    }
    Long durable =
        status.lastDurableCheckpoint() == null ? null : status.lastDurableCheckpoint().step();
    return Math.max(0, status.progress().step() - Objects.requireNonNullElse(durable, 0L));
  }
}
