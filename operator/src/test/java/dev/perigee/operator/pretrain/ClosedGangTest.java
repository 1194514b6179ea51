package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.operator.gang.GangAction;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyIngressRule;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeer;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeerBuilder;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** Gangs that are closed to others. */
class ClosedGangTest {
  private static final NetworkPolicyPeer OPERATOR =
      new NetworkPolicyPeerBuilder()
          .withNewPodSelector()
          .addToMatchLabels("app", "operator")
          .endPodSelector()
          .build();
  private static final Map<String, String> GANG =
      Map.of("perigee.dev/kind", "PretrainJob", "perigee.dev/job", "demo");

  private final FakeCluster cluster = new FakeCluster(Jobs.small());

  @Test
  void onlyItsOwnPodsReachAGangAndReadersItsHttpPort() {
    cluster.readers = Optional.of(List.of(OPERATOR));
    List<GangAction> actions = cluster.reconcile().actions();
    assertThat(actions.indexOf(new GangAction.ApplyNetworkPolicy(cluster.policy().orElseThrow())))
        .as("closed before its first pod is there")
        .isBetween(0, actions.size() - 3);
    NetworkPolicy policy = cluster.policy().orElseThrow();
    assertThat(policy.getMetadata().getName()).isEqualTo("demo");
    assertThat(policy.getMetadata().getOwnerReferences()).hasSize(1);
    assertThat(policy.getSpec().getPodSelector().getMatchLabels()).isEqualTo(GANG);
    assertThat(policy.getSpec().getPolicyTypes()).containsExactly("Ingress");
    List<NetworkPolicyIngressRule> rules = policy.getSpec().getIngress();
    assertThat(rules).hasSize(2);
    assertThat(rules.getFirst().getFrom())
        .singleElement()
        .satisfies(p -> assertThat(p.getPodSelector().getMatchLabels()).isEqualTo(GANG));
    assertThat(rules.getFirst().getPorts()).as("collectives choose their ports").isEmpty();
    assertThat(rules.getLast().getFrom()).containsExactly(OPERATOR);
    assertThat(rules.getLast().getPorts())
        .singleElement()
        .satisfies(p -> assertThat(p.getPort().getStrVal()).isEqualTo("http"));
  }

  @Test
  void withoutReadersNobodyElseReachesIt() {
    cluster.readers = Optional.of(List.of());
    cluster.reconcile();
    assertThat(cluster.policy().orElseThrow().getSpec().getIngress())
        .as("a rule without peers would admit everybody")
        .singleElement()
        .satisfies(rule -> assertThat(rule.getFrom()).hasSize(1));
  }

  @Test
  void aPolicyThatSomebodyDeletesIsMadeAnewAndNothingElse() {
    cluster.readers = Optional.of(List.of(OPERATOR));
    cluster.reconcile();
    cluster.runAll();
    cluster.reconcile();
    assertThat(cluster.reconcile().actions().stream().filter(ClosedGangTest::isPolicy)).isEmpty();
    cluster.open();
    assertThat(cluster.reconcile().actions()).singleElement().matches(ClosedGangTest::isPolicy);
  }

  @Test
  void whereTheInstallationDoesNotAskForItThereIsNoPolicy() {
    cluster.reconcile();
    assertThat(cluster.policy()).isEmpty();
  }

  private static boolean isPolicy(GangAction action) {
    return action instanceof GangAction.ApplyNetworkPolicy;
  }
}
