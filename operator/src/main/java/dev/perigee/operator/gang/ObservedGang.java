package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Service;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/**
 * What is in the cluster of one job's gang, over all its starts.
 *
 * @param service its headless Service
 * @param configMap its ConfigMap
 * @param pods its pods, ordered by index
 */
public record ObservedGang(
    Optional<Service> service, Optional<ConfigMap> configMap, List<PodState> pods) {
  /** Nothing yet. */
  public static final ObservedGang NOTHING =
      new ObservedGang(Optional.empty(), Optional.empty(), List.of());

  public ObservedGang {
    pods = pods.stream().sorted(Comparator.comparingInt(PodState::index)).toList();
  }

  /** Pods of one start. */
  public List<PodState> of(int generation) {
    return pods.stream().filter(p -> p.generation() == generation).toList();
  }

  /** Pods of other starts, which have to go before that one can begin. */
  public List<PodState> notOf(int generation) {
    return pods.stream().filter(p -> p.generation() != generation).toList();
  }
}
