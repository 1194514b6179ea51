package dev.perigee.operator;

import java.time.Clock;
import java.time.Duration;
import java.util.Set;

/**
 * How the operator behaves; everything else is in the resources.
 *
 * @param namespaces namespaces to watch; empty for all
 * @param trainerImage image of a PretrainJob that names none
 * @param pollInterval how often a running job's {@code /status} is asked for
 * @param statusProbe how it is asked
 * @param clock the time
 */
public record OperatorOptions(
    Set<String> namespaces,
    String trainerImage,
    Duration pollInterval,
    StatusProbe statusProbe,
    Clock clock) {

  /** All namespaces, HTTP by pod address, every two seconds. */
  public static final OperatorOptions DEFAULT =
      new OperatorOptions(
          Set.of(),
          "perigee-trainer:0.1.0",
          Duration.ofSeconds(2),
          new HttpStatusProbe(Duration.ofSeconds(2)),
          Clock.systemUTC());

  public OperatorOptions {
    namespaces = Set.copyOf(namespaces);
  }
}
