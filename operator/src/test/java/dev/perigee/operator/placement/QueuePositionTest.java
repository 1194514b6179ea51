package dev.perigee.operator.placement;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.SchedulingSpec;
import dev.perigee.operator.BrokenClient;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.vertx.core.VertxException;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;

class QueuePositionTest {
  private static final YAMLMapper YAML = new YAMLMapper();

  private static GenericKubernetesResource workload(String status) throws IOException {
    return YAML.readValue(
        "apiVersion: kueue.x-k8s.io/v1beta2\nkind: Workload\nmetadata: {name: demo-attempt-1}\n"
            + status,
        GenericKubernetesResource.class);
  }

  /** Conditions as Kueue 0.19 wrote them. */
  @Test
  void aWorkloadSaysWhyItHasNoQuota() throws IOException {
    assertThat(
            QueuePosition.of(
                workload(
                    """
                    status:
                      conditions:
                      - {type: PodsReady, status: "False", message: Not all pods are ready}
                      - type: QuotaReserved
                        status: "False"
                        reason: Pending
                        message: topology "hosts" allows to fit only 1 out of 2 slice(s)
                    """)))
        .contains("topology \"hosts\" allows to fit only 1 out of 2 slice(s)");
  }

  @Test
  void aWorkloadWithQuotaSaysWhyItIsNotAdmitted() throws IOException {
    assertThat(
            QueuePosition.of(
                workload(
                    """
                    status:
                      conditions:
                      - {type: Admitted, status: "False", message: a check is pending}
                      - {type: QuotaReserved, status: "True", message: Quota reserved}
                    """)))
        .contains("a check is pending");
  }

  /** Kueue 0.19 leaves the conditions of quota and admission as they were. */
  @Test
  void aWorkloadThatSomebodyDeactivatedSaysSoFirst() throws IOException {
    assertThat(
            QueuePosition.of(
                workload(
                    """
                    spec: {active: false}
                    status:
                      conditions:
                      - {type: QuotaReserved, status: "False", message: 100m more needed}
                      - {type: Evicted, status: "True", message: The workload is deactivated}
                    """)))
        .contains("Workload demo-attempt-1 is deactivated (spec.active: false)");
    assertThat(
            QueuePosition.of(
                workload(
                    """
                    spec: {active: true}
                    status:
                      conditions:
                      - {type: QuotaReserved, status: "False", message: 100m more needed}
                    """)))
        .contains("100m more needed");
  }

  /** The client throws what its connection throws, too. */
  @Test
  void aQueueThatCannotBeReadSaysNothingAndHoldsNothingUp() {
    var scheduling =
        new PretrainJobStatus.Scheduling(
            SchedulingSpec.Adapter.Kueue, "kueue.x-k8s.io/v1beta2", "demo-attempt-1", "gpus");
    for (RuntimeException thrown :
        List.of(
            new KubernetesClientException("no answer"),
            new VertxException("Connection was closed"),
            new IllegalArgumentException("not a Workload"))) {
      assertThat(QueuePosition.read(BrokenClient.of(thrown), "team", scheduling)).isEmpty();
    }
  }

  @Test
  void aWorkloadThatIsNewOrWrittenOtherwiseSaysNothing() throws IOException {
    assertThat(QueuePosition.of(workload(""))).isEmpty();
    assertThat(QueuePosition.of(workload("status: {}"))).isEmpty();
    assertThat(QueuePosition.of(workload("status: {conditions: [1, {type: QuotaReserved}]}")))
        .isEmpty();
    assertThat(
            QueuePosition.of(
                workload("status: {conditions: [{type: Admitted, status: \"False\"}]}")))
        .isEmpty();
  }
}
