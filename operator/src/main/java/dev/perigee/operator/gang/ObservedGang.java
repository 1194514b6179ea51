package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Service;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What is in the cluster of one job's gang, over all its starts.
 *
 * @param service its headless Service
 * @param configMaps run configuration and rank map of each start that is still remembered
 * @param pods its pods, ordered by index
 */
public record ObservedGang(
    Optional<Service> service, List<ConfigMap> configMaps, List<PodState> pods) {
  /** Nothing yet. */
  public static final ObservedGang NOTHING =
      new ObservedGang(Optional.empty(), List.of(), List.of());

  public ObservedGang {
    configMaps = List.copyOf(configMaps);
    pods = pods.stream().sorted(Comparator.comparingInt(PodState::index)).toList();
  }

  /** Pods of one start. */
  public List<PodState> of(int generation) {
    return pods.stream().filter(p -> p.generation() == generation).toList();
  }

  /** Whether anything of one start is there. */
  public boolean has(int generation) {
    return !of(generation).isEmpty()
        || configMaps.stream().anyMatch(c -> GangLabels.generation(c) == generation);
  }

  /** Names of the ConfigMaps. */
  Set<String> configMapNames() {
    return configMaps.stream().map(c -> c.getMetadata().getName()).collect(Collectors.toSet());
  }

  /** Pods of other starts, which have to go before that one can begin. */
  public List<PodState> notOf(int generation) {
    return pods.stream().filter(p -> p.generation() != generation).toList();
  }
}
