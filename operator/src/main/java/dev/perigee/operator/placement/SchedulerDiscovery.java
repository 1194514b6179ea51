package dev.perigee.operator.placement;

import io.fabric8.kubernetes.api.model.APIResource;
import io.fabric8.kubernetes.api.model.APIResourceList;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

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

  /** By API version, so that an answer stays when the question after it fails. */
  private final Map<String, Answer> answers = new HashMap<>();

  /**
   * What was answered.
   *
   * @param kinds of one API version, none where it is not served
   * @param at when
   */
  private record Answer(Set<String> kinds, Instant at) {
    boolean isFresh(Instant now) {
      return !now.isAfter(at.plus(FRESH)) && !now.isBefore(at);
    }
  }

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
    return new ServedSchedulers(
        first(client, KueuePlacement.GROUP, KUEUE_VERSIONS, "LocalQueue"),
        serves(client, VolcanoPlacement.API_VERSION, "PodGroup"),
        first(client, PodGroupPlacement.GROUP, POD_GROUP_VERSIONS, "PodGroup"));
  }

  private Optional<String> first(
      KubernetesClient client, String group, List<String> versions, String kind) {
    return versions.stream().filter(v -> serves(client, group + "/" + v, kind)).findFirst();
  }

  private boolean serves(KubernetesClient client, String apiVersion, String kind) {
    Instant now = clock.instant();
    Answer answer = answers.get(apiVersion);
    if (answer == null || !answer.isFresh(now)) {
      answer = new Answer(kinds(client.getApiResources(apiVersion)), now);
      answers.put(apiVersion, answer);
    }
    return answer.kinds().contains(kind);
  }

  private static Set<String> kinds(APIResourceList served) {
    return served == null
        ? Set.of()
        : served.getResources().stream().map(APIResource::getKind).collect(Collectors.toSet());
  }
}
