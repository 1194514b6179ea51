package dev.perigee.operator;

import java.time.Duration;

/**
 * How replicas agree on which of them works: the holder of a Lease does; the others keep their
 * caches warm and wait.
 *
 * <p>A holder that stops gives the Lease back, so the next one has it within {@link #RETRY_PERIOD}.
 * One that dies keeps it until {@link #LEASE_DURATION} has passed since its last renewal, so the
 * longest hand-over is the sum of the two, 12 s. One that cannot renew for {@link #RENEW_DEADLINE}
 * stops before anyone else may start.
 *
 * @param namespace namespace of the Lease
 * @param lease its name
 * @param identity who this replica is: its pod's name
 */
public record LeaderElection(String namespace, String lease, String identity) {
  static final Duration LEASE_DURATION = Duration.ofSeconds(10);
  static final Duration RENEW_DEADLINE = Duration.ofSeconds(7);
  static final Duration RETRY_PERIOD = Duration.ofSeconds(2);
}
