package dev.perigee.operator.election;

import java.time.Clock;
import java.time.Duration;

/**
 * How replicas agree on which of them works: the holder of a Lease does; the others keep their
 * caches warm and wait.
 *
 * <p>A holder that stops gives the Lease back, so the next one has it within {@link #RETRY}. One
 * that dies keeps it until another has seen it unchanged for {@link #DURATION}. That one looks
 * every {@link #RETRY}, and so notices up to one such time late both that it changed and that it no
 * longer does: the longest hand-over is 9 + 2 * 2.2 s. One that cannot renew stops {@link
 * #RENEW_DEADLINE} after it began its last renewal, before anyone else may start.
 *
 * @param namespace namespace of the Lease
 * @param lease its name
 * @param identity who this replica is: its pod's name
 * @param clock what it writes into the Lease, for people; it decides nothing
 */
public record LeaderElection(String namespace, String lease, String identity, Clock clock) {
  static final Duration DURATION = Duration.ofSeconds(9);
  static final Duration RENEW_DEADLINE = Duration.ofSeconds(6);
  static final Duration RETRY = Duration.ofSeconds(2);

  /** With this machine's clock. */
  public LeaderElection(String namespace, String lease, String identity) {
    this(namespace, lease, identity, Clock.systemUTC());
  }
}
