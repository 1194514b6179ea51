package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyBuilder;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyIngressRule;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyIngressRuleBuilder;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Closes a gang to everybody but its own pods, which may use every port of each other (collectives
 * choose theirs as they go), and those who read what it says of itself. Kubelets may always probe.
 */
public final class GangNetworkPolicy {
  private GangNetworkPolicy() {}

  /**
   * The policy of one gang.
   *
   * @param metadata of the policy
   * @param gang labels of all pods of the gang and of no other
   * @param readers who may reach the port {@code http}: the operator, and whoever reads metrics
   */
  public static NetworkPolicy of(
      ObjectMeta metadata, Map<String, String> gang, List<NetworkPolicyPeer> readers) {
    List<NetworkPolicyIngressRule> admitted = new ArrayList<>();
    admitted.add(
        new NetworkPolicyIngressRuleBuilder()
            .addNewFrom()
            .withNewPodSelector()
            .withMatchLabels(gang)
            .endPodSelector()
            .endFrom()
            .build());
    // A rule without peers would admit everybody.
    if (!readers.isEmpty()) {
      admitted.add(
          new NetworkPolicyIngressRuleBuilder()
              .withFrom(readers)
              .addNewPort()
              .withNewPort("http")
              .withProtocol("TCP")
              .endPort()
              .build());
    }
    return new NetworkPolicyBuilder()
        .withMetadata(metadata)
        .withNewSpec()
        .withNewPodSelector()
        .withMatchLabels(gang)
        .endPodSelector()
        .withPolicyTypes("Ingress")
        .withIngress(admitted)
        .endSpec()
        .build();
  }
}
