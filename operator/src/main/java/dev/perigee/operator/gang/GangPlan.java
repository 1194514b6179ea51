package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import java.util.List;
import java.util.Optional;

/**
 * What should be in the cluster for one start of a gang.
 *
 * @param generation which start this is, from 1
 * @param service the headless Service that gives pods their names
 * @param configMap run configuration and rank map
 * @param group what stands for the gang at its scheduler, empty for nothing
 * @param pods one for each index, in order
 * @param peersName name of the ConfigMap with the rank map with addresses
 * @param peers that ConfigMap, empty while not all pods have an address
 * @param policy who may reach the pods, empty when that is nobody's concern here
 */
public record GangPlan(
    int generation,
    Service service,
    ConfigMap configMap,
    Optional<GenericKubernetesResource> group,
    List<Pod> pods,
    String peersName,
    Optional<ConfigMap> peers,
    Optional<NetworkPolicy> policy) {
  public GangPlan {
    pods = List.copyOf(pods);
  }

  /** A plan without addresses. */
  public GangPlan(
      int generation,
      Service service,
      ConfigMap configMap,
      Optional<GenericKubernetesResource> group,
      List<Pod> pods) {
    this(
        generation,
        service,
        configMap,
        group,
        pods,
        service.getMetadata().getName() + "-peers",
        Optional.empty(),
        Optional.empty());
  }

  /** The same plan with the addresses of the pods. */
  public GangPlan withPeers(Optional<ConfigMap> known) {
    return new GangPlan(generation, service, configMap, group, pods, peersName, known, policy);
  }

  /** The same plan with something remembered on the Service. */
  public GangPlan withService(Service other) {
    return new GangPlan(generation, other, configMap, group, pods, peersName, peers, policy);
  }

  /** The same plan, closed by a policy. */
  public GangPlan withPolicy(Optional<NetworkPolicy> closing) {
    return new GangPlan(generation, service, configMap, group, pods, peersName, peers, closing);
  }
}
