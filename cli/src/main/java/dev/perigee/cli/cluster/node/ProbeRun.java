package dev.perigee.cli.cluster.node;

import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/** A probe with what it has found so far. */
final class ProbeRun {
  private final Optional<Probe> probe;
  private final Instant begun = Instant.now();
  private boolean holds;
  private int contradictions;
  private Instant next;

  ProbeRun(Optional<Probe> probe, boolean holds) {
    this.probe = probe;
    this.holds = holds;
    this.next = begun.plus(probe.map(Probe::initialDelay).orElse(Duration.ZERO));
  }

  boolean holds() {
    return holds;
  }

  /** Whether it has never held for as long as the probe allows. */
  boolean late() {
    return probe.isPresent()
        && !holds
        && Duration.between(begun, Instant.now())
                .compareTo(
                    probe
                        .get()
                        .initialDelay()
                        .plus(probe.get().period().multipliedBy(probe.get().failures())))
            > 0;
  }

  /** Probes when it is time to; so many contradictions in a row change what holds. */
  void due(String address) throws InterruptedException {
    if (probe.isEmpty() || Instant.now().isBefore(next)) {
      return;
    }
    boolean success = probe.get().succeeds(address);
    contradictions = success == holds ? 0 : contradictions + 1;
    if (contradictions >= (holds ? probe.get().failures() : probe.get().successes())) {
      holds = success;
      contradictions = 0;
    }
    // A container that is starting is asked more often than it will be: nobody likes to wait.
    next = Instant.now().plus(holds ? probe.get().period() : Duration.ofMillis(500));
  }
}
