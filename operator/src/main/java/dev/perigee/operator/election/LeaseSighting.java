package dev.perigee.operator.election;

import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.api.model.coordination.v1.LeaseBuilder;
import io.fabric8.kubernetes.api.model.coordination.v1.LeaseSpec;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.temporal.ChronoUnit;
import java.util.Objects;
import java.util.Optional;

/**
 * What a replica saw of the Lease, and since when it is so. Times are those of one monotonic clock,
 * the replica's own; the times in the Lease are only compared with themselves.
 *
 * @param holder who holds it, empty for nobody
 * @param renewTime what the holder wrote, null when nothing, or when the Lease was deleted
 * @param transitions how often it went to another
 * @param since when it was first seen so, in nanoseconds
 */
record LeaseSighting(String holder, ZonedDateTime renewTime, int transitions, long since) {

  /** What is seen now, after what was seen before. */
  static LeaseSighting of(Lease lease, Optional<LeaseSighting> before, long now) {
    LeaseSpec spec = Objects.requireNonNullElseGet(lease.getSpec(), LeaseSpec::new);
    LeaseSighting seen =
        new LeaseSighting(
            Objects.requireNonNullElse(spec.getHolderIdentity(), ""),
            spec.getRenewTime(),
            Objects.requireNonNullElse(spec.getLeaseTransitions(), 0),
            now);
    return before.filter(b -> b.isSame(seen)).orElse(seen);
  }

  /** What is seen when the Lease is no more: it may have been renewed just before. */
  LeaseSighting deleted(long now) {
    return renewTime == null ? this : new LeaseSighting(holder, null, transitions, now);
  }

  private boolean isSame(LeaseSighting other) {
    return holder.equals(other.holder)
        && transitions == other.transitions
        && Objects.equals(renewTime, other.renewTime);
  }

  /**
   * Whether that replica may write the Lease: it holds it already, nobody does, or its holder has
   * not renewed it for as long as it lasts.
   */
  boolean isOpenTo(String identity, Duration lasts, long now) {
    return holder.isEmpty() || holder.equals(identity) || now - since >= lasts.toNanos();
  }

  /** The Lease as its new holder, or the one that goes on, writes it. */
  static Lease held(Lease found, LeaderElection election) {
    LeaseSpec spec = Objects.requireNonNullElseGet(found.getSpec(), LeaseSpec::new);
    boolean again = election.identity().equals(spec.getHolderIdentity());
    // The API server keeps microseconds; a finer time would come back changed.
    ZonedDateTime now = microseconds(election.clock().instant());
    int transitions = Objects.requireNonNullElse(spec.getLeaseTransitions(), 0);
    return new LeaseBuilder(found)
        .editOrNewSpec()
        .withHolderIdentity(election.identity())
        .withLeaseDurationSeconds(Math.toIntExact(LeaderElection.DURATION.toSeconds()))
        .withAcquireTime(again && spec.getAcquireTime() != null ? spec.getAcquireTime() : now)
        .withRenewTime(now)
        .withLeaseTransitions(transitions + (again || found.getSpec() == null ? 0 : 1))
        .endSpec()
        .build();
  }

  private static ZonedDateTime microseconds(Instant time) {
    return time.atZone(ZoneOffset.UTC).truncatedTo(ChronoUnit.MICROS);
  }
}
