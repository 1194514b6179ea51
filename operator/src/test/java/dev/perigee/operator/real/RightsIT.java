package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.Rights;
import io.fabric8.kubernetes.api.model.ServiceAccountBuilder;
import io.fabric8.kubernetes.api.model.authentication.TokenRequest;
import io.fabric8.kubernetes.api.model.authentication.TokenRequestBuilder;
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
    List<PolicyRule> rules = rules(Rights.OF_JOBS.stream());
    api.client()
        .resource(
            new RoleBuilder()
                .withNewMetadata()
                .withName(ACCOUNT)
                .withNamespace(namespace)
                .endMetadata()
                .withRules(rules)
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
    wholeLifeAs(namespace);
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
      assertThat(operator).isNotNull();
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
