package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.Rights;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.GangWriter;
import dev.perigee.operator.gang.PodState;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.GenericKubernetesResourceBuilder;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.ObjectMetaBuilder;
import io.fabric8.kubernetes.api.model.OwnerReference;
import io.fabric8.kubernetes.api.model.OwnerReferenceBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.ServiceAccountBuilder;
import io.fabric8.kubernetes.api.model.ServiceBuilder;
import io.fabric8.kubernetes.api.model.authentication.TokenRequest;
import io.fabric8.kubernetes.api.model.authentication.TokenRequestBuilder;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyBuilder;
import io.fabric8.kubernetes.api.model.rbac.ClusterRoleBindingBuilder;
import io.fabric8.kubernetes.api.model.rbac.ClusterRoleBuilder;
import io.fabric8.kubernetes.api.model.rbac.PolicyRule;
import io.fabric8.kubernetes.api.model.rbac.PolicyRuleBuilder;
import io.fabric8.kubernetes.api.model.rbac.RoleBindingBuilder;
import io.fabric8.kubernetes.api.model.rbac.RoleBuilder;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.time.Clock;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * The operator as its own service account, with {@link Rights} and nothing else. That the chart
 * grants exactly these is a test of the chart.
 */
class RightsIT {
  private static final String ACCOUNT = "perigee";

  private static RealApi api;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  @Test
  void theRightsOfItsNamespacesCarryAWholeLife() throws InterruptedException {
    String namespace = api.namespace("rights");
    grant(namespace);
    wholeLifeAs(namespace);
  }

  /** Also those that a life without trouble does not need, as for restarts in place. */
  @Test
  void theyCarryEveryWriteToAGang() {
    String namespace = api.namespace("rights");
    grant(namespace);
    try (KubernetesClient account = account(namespace)) {
      GangWriter writer =
          new GangWriter(
              account,
              namespace,
              object -> account.resource(object).create(),
              object -> account.resource(object).forceConflicts().serverSideApply());
      ObjectMeta metadata =
          new ObjectMetaBuilder()
              .withNamespace(namespace)
              .withName("thing")
              .withOwnerReferences(owner("job"))
              .build();
      Pod pod =
          new PodBuilder()
              .withMetadata(metadata)
              .withNewSpec()
              .addNewContainer()
              .withName("trainer")
              .withImage("x")
              .endContainer()
              .endSpec()
              .build();
      Service service =
          new ServiceBuilder()
              .withMetadata(metadata)
              .withNewSpec()
              .withClusterIP("None")
              .endSpec()
              .build();
      NetworkPolicy policy =
          new NetworkPolicyBuilder()
              .withMetadata(metadata)
              .withNewSpec()
              .withNewPodSelector()
              .endPodSelector()
              .endSpec()
              .build();
      ConfigMap map = new ConfigMapBuilder().withMetadata(metadata).build();
      writer.write(
          List.of(
              new GangAction.ApplyService(service),
              new GangAction.ApplyNetworkPolicy(policy),
              new GangAction.CreateConfigMap(map),
              new GangAction.CreatePod(pod)));
      String uid = thing(namespace).getMetadata().getUid();
      writer.write(List.of(new GangAction.AdoptPod("thing", uid, 3, 2, 1)));
      writer.write(List.of(new GangAction.ShowPeers("thing", uid, 2)));
      assertThat(PodState.of(thing(namespace)))
          .extracting(PodState::index, PodState::generation, PodState::shown)
          .containsExactly(3, 2, 2);
      writer.write(
          List.of(
              new GangAction.AdoptPod("thing", "another", 4, 4, 4),
              new GangAction.ShowPeers("gone", uid, 4),
              new GangAction.DeletePod("thing", "another", 0L),
              new GangAction.DeletePod("gone", uid, 0L)));
      assertThat(PodState.of(thing(namespace)).index()).as("another pod is let be").isEqualTo(3);
      Service another =
          new ServiceBuilder(service)
              .editMetadata()
              .withOwnerReferences(owner("another"))
              .endMetadata()
              .build();
      assertThatThrownBy(() -> writer.write(List.of(new GangAction.ApplyService(another))))
          .hasMessageContaining("Service thing is there already");
      if (RealApi.servesPodGroups()) {
        writer.write(List.of(new GangAction.CreateGroup(group("job"))));
        writer.write(List.of(new GangAction.CreateGroup(group("job"))));
        assertThatThrownBy(
                () -> writer.write(List.of(new GangAction.CreateGroup(group("another")))))
            .as("of a job of this name that was deleted just before")
            .hasMessageContaining("PodGroup thing is there already");
      }
      writer.write(
          List.of(
              new GangAction.UpdateService(service),
              new GangAction.ApplyNetworkPolicy(policy),
              new GangAction.ApplyConfigMap(map),
              new GangAction.DeleteConfigMap("thing"),
              new GangAction.DeletePod("thing", uid, 0L),
              new GangAction.DeleteGroup("kueue.x-k8s.io/v1beta2", "workloads", "thing"),
              new GangAction.DeleteGroup("scheduling.k8s.io/v1alpha2", "podgroups", "thing"),
              new GangAction.DeleteGroup("scheduling.volcano.sh/v1beta1", "podgroups", "thing")));
      assertThat(thing(namespace)).isNull();
    }
  }

  private static Pod thing(String namespace) {
    return api.client().pods().inNamespace(namespace).withName("thing").get();
  }

  private static GenericKubernetesResource group(String owner) {
    return new GenericKubernetesResourceBuilder()
        .withApiVersion("scheduling.k8s.io/v1alpha2")
        .withKind("PodGroup")
        .withNewMetadata()
        .withName("thing")
        .withOwnerReferences(owner(owner))
        .endMetadata()
        .addToAdditionalProperties(
            "spec", Map.of("schedulingPolicy", Map.of("gang", Map.of("minCount", 2))))
        .build();
  }

  private static OwnerReference owner(String name) {
    return new OwnerReferenceBuilder()
        .withApiVersion("perigee.dev/v1alpha1")
        .withKind("PretrainJob")
        .withName(name)
        .withUid(name)
        .build();
  }

  /** Gives the namespace's account the rights of its jobs, there. */
  private static void grant(String namespace) {
    api.client()
        .resource(
            new RoleBuilder()
                .withNewMetadata()
                .withName(ACCOUNT)
                .withNamespace(namespace)
                .endMetadata()
                .withRules(rules(Rights.OF_JOBS.stream()))
                .build())
        .create();
    api.client()
        .resource(
            new RoleBindingBuilder()
                .withNewMetadata()
                .withName(ACCOUNT)
                .withNamespace(namespace)
                .endMetadata()
                .withNewRoleRef("rbac.authorization.k8s.io", "Role", ACCOUNT)
                .addNewSubject("", "ServiceAccount", ACCOUNT, namespace)
                .build())
        .create();
  }

  @Test
  void theRightsOfTheClusterCarryAWholeLifeToo() throws InterruptedException {
    String namespace = api.namespace("rights");
    api.client()
        .resource(
            new ClusterRoleBuilder()
                .withNewMetadata()
                .withName(namespace)
                .endMetadata()
                .withRules(
                    rules(Stream.concat(Rights.OF_JOBS.stream(), Rights.OF_CLUSTER.stream())))
                .build())
        .create();
    api.client()
        .resource(
            new ClusterRoleBindingBuilder()
                .withNewMetadata()
                .withName(namespace)
                .endMetadata()
                .withNewRoleRef("rbac.authorization.k8s.io", "ClusterRole", namespace)
                .addNewSubject("", "ServiceAccount", ACCOUNT, namespace)
                .build())
        .create();
    wholeLifeAs(namespace);
  }

  private static void wholeLifeAs(String namespace) throws InterruptedException {
    try (KubernetesClient account = account(namespace);
        Story story = new Story(api, namespace);
        OperatorRuntime operator =
            OperatorRuntime.start(
                account, RealApi.options(namespace, story::ask, Clock.systemUTC()))) {
      assertThat(operator.notReady()).as("also without the right to read nodes").isEmpty();
      story.play(() -> {});
      assertThatThrownBy(() -> account.secrets().inNamespace(namespace).list())
          .isInstanceOfSatisfying(
              KubernetesClientException.class, e -> assertThat(e.getCode()).isEqualTo(403));
    }
  }

  /** A client with a token of the account and nothing of the administrator's. */
  private static KubernetesClient account(String namespace) {
    api.client()
        .resource(
            new ServiceAccountBuilder()
                .withNewMetadata()
                .withName(ACCOUNT)
                .withNamespace(namespace)
                .endMetadata()
                .build())
        .create();
    TokenRequest token =
        api.client()
            .serviceAccounts()
            .inNamespace(namespace)
            .withName(ACCOUNT)
            .tokenRequest(new TokenRequestBuilder().withNewSpec().endSpec().build());
    Config administrator = api.config();
    return new KubernetesClientBuilder()
        .withConfig(
            new ConfigBuilder(Config.empty())
                .withMasterUrl(administrator.getMasterUrl())
                .withCaCertData(administrator.getCaCertData())
                .withCaCertFile(administrator.getCaCertFile())
                .withOauthToken(token.getStatus().getToken())
                .build())
        .build();
  }

  private static List<PolicyRule> rules(Stream<Rights> rights) {
    return rights
        .map(
            right ->
                new PolicyRuleBuilder()
                    .withApiGroups(right.group())
                    .withResources(right.resource())
                    .withVerbs(right.verbs())
                    .build())
        .toList();
  }
}
