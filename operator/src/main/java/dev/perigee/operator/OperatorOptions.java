package dev.perigee.operator;

import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeer;
import java.time.Clock;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * How the operator behaves; everything else is in the resources.
 *
 * @param namespaces namespaces to watch; empty for all
 * @param trainerImage image of a PretrainJob that names none
 * @param pollInterval how often a running job's {@code /status} is asked for
 * @param statusProbe how it is asked
 * @param clock the time
 * @param gangReaders who beside a gang's own pods may reach its HTTP port; empty when gangs get no
 *     NetworkPolicy
 */
public record OperatorOptions(
    Set<String> namespaces,
    String trainerImage,
    Duration pollInterval,
    StatusProbe statusProbe,
    Clock clock,
    Optional<List<NetworkPolicyPeer>> gangReaders) {

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

  /** Without NetworkPolicies. */
  public OperatorOptions(
      Set<String> namespaces,
      String trainerImage,
      Duration pollInterval,
      StatusProbe statusProbe,
      Clock clock) {
    this(namespaces, trainerImage, pollInterval, statusProbe, clock, Optional.empty());
  }
}
