package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * What is in the cluster of one job's gang, over all its starts.
 *
 * @param service its headless Service
 * @param policy who may reach its pods, empty when that is not looked at
 * @param configMaps run configuration and rank map of each start that is still remembered
 * @param pods its pods, ordered by index
 * @param leftovers names of objects that belonged to an earlier job of this name and are not
 *     deleted yet
 */
public record ObservedGang(
    Optional<Service> service,
    Optional<NetworkPolicy> policy,
    List<ConfigMap> configMaps,
    List<PodState> pods,
    List<String> leftovers) {
  /** Nothing yet. */
  public static final ObservedGang NOTHING =
      new ObservedGang(Optional.empty(), Optional.empty(), List.of(), List.of());

  public ObservedGang {
    configMaps = List.copyOf(configMaps);
    pods = pods.stream().sorted(Comparator.comparingInt(PodState::index)).toList();
    leftovers = leftovers.stream().sorted().toList();
  }

  /** Of a job whose name no other had before. */
  public ObservedGang(
      Optional<Service> service,
      Optional<NetworkPolicy> policy,
      List<ConfigMap> configMaps,
      List<PodState> pods) {
    this(service, policy, configMaps, pods, List.of());
  }

  /**
   * The same, where pods that no node takes say what no node could ever give.
   *
   * @param plan what such a pod asks for
   */
  public ObservedGang explained(GangPlan plan, Nodes nodes) {
    if (pods.stream().allMatch(pod -> pod.binding().unschedulable() == null)) {
      return this;
    }
    Optional<String> shortage = Shortage.of(plan.pods().getFirst(), nodes);
    if (shortage.isEmpty()) {
      return this;
    }
    return new ObservedGang(
        service,
        policy,
        configMaps,
        pods.stream()
            .map(
                pod ->
                    pod.binding().unschedulable() == null
                        ? pod
                        : pod.unschedulable(pod.binding().unschedulable() + " " + shortage.get()))
            .toList(),
        leftovers);
  }

  /** Whether nothing of it is there. */
  public boolean isNothing() {
    return service.isEmpty() && configMaps.isEmpty() && pods.isEmpty();
  }

  /** The same with another Service. */
  public ObservedGang withService(Optional<Service> other) {
    return new ObservedGang(other, policy, configMaps, pods, leftovers);
  }

  /**
   * The same, where pods that a queue holds say why.
   *
   * @param because the queue's words
   */
  public ObservedGang held(String because) {
    return new ObservedGang(
        service,
        policy,
        configMaps,
        pods.stream().map(pod -> pod.binding().gated() ? pod.unschedulable(because) : pod).toList(),
        leftovers);
  }

  /** The same, where one pod says why it does not start. */
  ObservedGang troubled(PodState which, String because) {
    return new ObservedGang(
        service,
        policy,
        configMaps,
        pods.stream()
            .map(pod -> pod.uid().equals(which.uid()) ? pod.troubled(because) : pod)
            .toList(),
        leftovers);
  }

  /** Pods of one start. */
  public List<PodState> of(int generation) {
    return pods.stream().filter(p -> p.generation() == generation).toList();
  }

  /**
   * Whether all pods of one start are there, on lost nodes, and none is known to have ended: they
   * may still train together, and nobody can tell them to stop.
   */
  public boolean isOutOfReach(int generation) {
    List<PodState> gang = of(generation);
    return !gang.isEmpty()
        && gang.size() >= gang.getFirst().gangSize()
        && gang.stream().allMatch(pod -> pod.onLostNode() && !pod.ended());
  }

  /** Whether anything of one start is there. */
  public boolean has(int generation) {
    return !of(generation).isEmpty()
        || configMaps.stream().anyMatch(c -> GangLabels.generation(c) == generation);
  }

  /** The latest start of which anything is there, 0 for none. */
  public int latest() {
    return IntStream.concat(
            pods.stream().mapToInt(PodState::generation),
            configMaps.stream().mapToInt(GangLabels::generation))
        .max()
        .orElse(0);
  }

  /** The ConfigMap of that name. */
  public Optional<ConfigMap> configMap(String name) {
    return configMaps.stream().filter(c -> c.getMetadata().getName().equals(name)).findFirst();
  }

  /** Whether the pod with that uid is being deleted. */
  boolean isDeleting(String uid) {
    return pods.stream().anyMatch(p -> p.deleting() && p.uid().equals(uid));
  }

  /** Names of the ConfigMaps. */
  Set<String> configMapNames() {
    return configMaps.stream().map(c -> c.getMetadata().getName()).collect(Collectors.toSet());
  }

  /** Pods of other starts, which have to go before that one can begin; spares are of none. */
  public List<PodState> notOf(int generation) {
    return pods.stream().filter(p -> p.generation() != generation && !p.isSpare()).toList();
  }

  /** Pods of any start, without spares. */
  public List<PodState> members() {
    return pods.stream().filter(p -> !p.isSpare()).toList();
  }

  /** The same as if there were no spares. */
  public ObservedGang withoutSpares() {
    return new ObservedGang(service, policy, configMaps, members(), leftovers);
  }

  /** Spares, by name. */
  public List<PodState> spares() {
    return pods.stream()
        .filter(PodState::isSpare)
        .sorted(Comparator.comparing(PodState::name))
        .toList();
  }
}
