package dev.perigee.operator.placement;

import io.fabric8.kubernetes.api.model.APIResourceList;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * Asks the API server what it serves, at most once a minute. It needs no rights beyond those of
 * every account ({@code system:discovery}).
 */
public final class SchedulerDiscovery {
  private static final Duration FRESH = Duration.ofMinutes(1);

  /** Newest first; all have {@code spec.schedulingPolicy.gang.minCount}. */
  private static final List<String> POD_GROUP_VERSIONS = List.of("v1alpha2");

  private static final List<String> KUEUE_VERSIONS = List.of("v1beta2", "v1beta1");

  private final Clock clock;
  private ServedSchedulers known = ServedSchedulers.NONE;
  private Instant askedAt = Instant.MIN;

  /** A discovery that has asked nothing yet. */
  public SchedulerDiscovery(Clock clock) {
    this.clock = clock;
  }

  /**
   * What is served, not older than a minute.
   *
   * @throws io.fabric8.kubernetes.client.KubernetesClientException when the API server does not
   *     answer
   */
  public synchronized ServedSchedulers ask(KubernetesClient client) {
    Instant now = clock.instant();
    if (now.isAfter(askedAt.plus(FRESH)) || now.isBefore(askedAt)) {
      known =
          new ServedSchedulers(
              first(client, KueuePlacement.GROUP, KUEUE_VERSIONS, "LocalQueue"),
              serves(client, VolcanoPlacement.API_VERSION, "PodGroup"),
              first(client, PodGroupPlacement.GROUP, POD_GROUP_VERSIONS, "PodGroup"));
      askedAt = now;
    }
    return known;
  }

  private static Optional<String> first(
      KubernetesClient client, String group, List<String> versions, String kind) {
    return versions.stream().filter(v -> serves(client, group + "/" + v, kind)).findFirst();
  }

  private static boolean serves(KubernetesClient client, String apiVersion, String kind) {
    APIResourceList served = client.getApiResources(apiVersion);
    return served != null && served.getResources().stream().anyMatch(r -> kind.equals(r.getKind()));
  }
}
