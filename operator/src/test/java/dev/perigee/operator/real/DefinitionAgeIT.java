package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import com.fasterxml.jackson.databind.node.TextNode;
import dev.perigee.api.PretrainJob;
import dev.perigee.operator.ApiClient;
import dev.perigee.operator.OperatorRuntime;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.api.model.apiextensions.v1.JSONSchemaProps;
import io.fabric8.kubernetes.api.model.apiextensions.v1.JSONSchemaPropsBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.javaoperatorsdk.operator.OperatorException;
import java.time.Clock;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * An operator that is newer than the definitions of its cluster, and one that is older, on an API
 * server of their own.
 */
class DefinitionAgeIT {
  private static final String DEFINITION = "pretrainjobs.perigee.dev";

  private static RealApi api;

  private final String namespace = api.namespace("age");

  @BeforeAll
  static void startServer() {
    api = RealApi.ownOrSkip();
  }

  @Test
  void theOperatorDoesNotBeginBeforeTheDefinitionsDeclareWhatItWrites() {
    CustomResourceDefinition present = definition();
    CustomResourceDefinition older = definition();
    Map<String, JSONSchemaProps> status = properties(older, "status");
    status.get("lastDurableCheckpoint").getProperties().remove("seconds");
    status.get("attempt").getProperties().get("phase").getEnum().removeLast();
    replace(older);
    api.createJob(namespace, "job");

    // Not left out, as of a spec, but refused as a whole: no job would get on.
    await()
        .untilAsserted(
            () ->
                assertThatThrownBy(
                        () ->
                            apply("{\"restarts\": 1, \"lastDurableCheckpoint\": {\"seconds\": 2}}"))
                    .isInstanceOf(KubernetesClientException.class)
                    .hasMessageContaining(
                        ".status.lastDurableCheckpoint.seconds: field not declared in schema"));
    await()
        .untilAsserted(
            () ->
                assertThatThrownBy(this::start)
                    .isInstanceOf(OperatorException.class)
                    .hasMessageContaining(DEFINITION + " is older than this operator")
                    .hasMessageContaining("status.attempt.phase")
                    .hasMessageContaining("status.lastDurableCheckpoint.seconds")
                    .hasMessageContaining("kubectl apply --server-side -f crds/yaml"));

    replace(present);
    await()
        .ignoreExceptionsInstanceOf(OperatorException.class) // until the API server has read it
        .untilAsserted(
            () -> {
              try (OperatorRuntime operator = start()) {
                assertThat(operator.notReady()).isEmpty();
                awaitPods("job");
              }
            });
    assertThat(api.job(namespace, "job").getStatus().attempt()).isNotNull();
  }

  /** One job that asks for what only a newer operator knows, and one that does not. */
  @Test
  void anOperatorThatIsOlderThanTheDefinitionsStillSeesToJobs() {
    CustomResourceDefinition present = definition();
    CustomResourceDefinition newer = definition();
    properties(newer, "spec").put("news", new JSONSchemaPropsBuilder().withType("string").build());
    properties(newer, "spec")
        .get("compute")
        .getProperties()
        .get("backend")
        .getEnum()
        .add(new TextNode("tpu"));
    replace(newer);
    await()
        .ignoreExceptions() // until the API server has read it
        .untilAsserted(
            () ->
                api.createJob(namespace, "named", job -> job.withObject("/spec").put("news", "")));
    api.createJob(
        namespace, "valued", job -> job.withObject("/spec/compute").put("backend", "tpu"));
    api.createJob(namespace, "plain");
    try (KubernetesClient client = ApiClient.connect(api.config());
        OperatorRuntime operator = start(client)) {
      awaitPods("plain");
      awaitPods("named");
      assertThat(operator.notReady()).isEmpty();
      api.createJob(namespace, "later");
      awaitPods("later");
    }
    api.client().pods().inNamespace(namespace).delete();
    replace(present);
  }

  private void awaitPods(String job) {
    await()
        .untilAsserted(() -> assertThat(new PodPlay(api.client()).pods(namespace, job)).hasSize(2));
  }

  private static Map<String, JSONSchemaProps> properties(
      CustomResourceDefinition definition, String part) {
    return definition
        .getSpec()
        .getVersions()
        .getFirst()
        .getSchema()
        .getOpenAPIV3Schema()
        .getProperties()
        .get(part)
        .getProperties();
  }

  private OperatorRuntime start() {
    return start(api.client());
  }

  private OperatorRuntime start(KubernetesClient client) {
    return OperatorRuntime.start(
        client, RealApi.options(namespace, (host, port) -> Optional.empty(), Clock.systemUTC()));
  }

  private void apply(String status) {
    api.client()
        .resource(api.job(namespace, "job"))
        .subresource("status")
        .patch(
            new PatchContext.Builder()
                .withPatchType(PatchType.SERVER_SIDE_APPLY)
                .withFieldManager("test")
                .withForce(true)
                .build(),
            """
            {"apiVersion": "%s", "kind": "%s", "metadata": {"name": "job", "namespace": "%s"},
             "status": %s}
            """
                .formatted(
                    PretrainJob.GROUP + "/" + PretrainJob.VERSION,
                    PretrainJob.KIND,
                    namespace,
                    status));
  }

  private CustomResourceDefinition definition() {
    return api.client().apiextensions().v1().customResourceDefinitions().withName(DEFINITION).get();
  }

  private void replace(CustomResourceDefinition with) {
    with.getMetadata().setResourceVersion(null);
    with.getMetadata().setManagedFields(null);
    api.client().resource(with).update();
  }
}
