package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import dev.perigee.api.PretrainJob;
import dev.perigee.operator.OperatorRuntime;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.api.model.apiextensions.v1.JSONSchemaProps;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.javaoperatorsdk.operator.OperatorException;
import java.time.Clock;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** An operator that is newer than the definitions of its cluster, on an API server of its own. */
class OlderDefinitionIT {
  private static final String DEFINITION = "pretrainjobs.perigee.dev";

  private final RealApi api = RealApi.ownOrSkip();
  private final String namespace = api.namespace("older");

  @Test
  void theOperatorDoesNotBeginBeforeTheDefinitionsDeclareWhatItWrites() {
    CustomResourceDefinition present = definition();
    CustomResourceDefinition older = definition();
    Map<String, JSONSchemaProps> status =
        older
            .getSpec()
            .getVersions()
            .getFirst()
            .getSchema()
            .getOpenAPIV3Schema()
            .getProperties()
            .get("status")
            .getProperties();
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
                await()
                    .until(
                        () ->
                            api.client().pods().inNamespace(namespace).list().getItems().size()
                                == 2);
              }
            });
    assertThat(api.job(namespace, "job").getStatus().attempt()).isNotNull();
  }

  private OperatorRuntime start() {
    return OperatorRuntime.start(
        api.client(),
        RealApi.options(namespace, (host, port) -> Optional.empty(), Clock.systemUTC()));
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
