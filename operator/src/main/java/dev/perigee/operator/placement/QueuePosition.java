package dev.perigee.operator.placement;

import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.SchedulingSpec.Adapter;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Why a queue has not let a gang in, in the words of the queue. Kueue writes them to its Workload
 * and not to the pods: a gang that no quota can ever hold, or whose topology the flavor lacks,
 * looks from its pods like any other that waits.
 */
public final class QueuePosition {
  private static final Logger LOG = LoggerFactory.getLogger(QueuePosition.class);
  private static final List<String> STEPS = List.of("QuotaReserved", "Admitted");

  private QueuePosition() {}

  /**
   * What the queue says, empty when it says nothing or cannot be read: then a job still waits, only
   * with fewer words.
   *
   * @param namespace the job's
   * @param scheduling who lets the gang in, as the status says
   */
  public static Optional<String> read(
      KubernetesClient client, String namespace, PretrainJobStatus.Scheduling scheduling) {
    if (scheduling.adapter() != Adapter.Kueue || scheduling.group() == null) {
      return Optional.empty();
    }
    try {
      String workload =
          client.raw(
              "/apis/"
                  + scheduling.apiVersion()
                  + "/namespaces/"
                  + namespace
                  + "/workloads/"
                  + scheduling.group());
      return workload == null
          ? Optional.empty()
          : of(
              client
                  .getKubernetesSerialization()
                  .unmarshal(workload, GenericKubernetesResource.class));
    } catch (RuntimeException e) { // the client's, and those of a connection that breaks
      LOG.debug("what Workload {} says cannot be read", scheduling.group(), e);
      return Optional.empty();
    }
  }

  /**
   * What a Workload of Kueue says of the first step that it has not taken. One that is deactivated
   * says of its steps what was so before.
   */
  static Optional<String> of(GenericKubernetesResource workload) {
    if (workload.getAdditionalProperties().get("spec") instanceof Map<?, ?> spec
        && Boolean.FALSE.equals(spec.get("active"))) {
      return Optional.of(
          "Workload " + workload.getMetadata().getName() + " is deactivated (spec.active: false)");
    }
    return workload.getAdditionalProperties().get("status") instanceof Map<?, ?> status
            && status.get("conditions") instanceof List<?> conditions
        ? STEPS.stream().flatMap(step -> unmet(conditions, step).stream()).findFirst()
        : Optional.empty();
  }

  private static Optional<String> unmet(List<?> conditions, String type) {
    return conditions.stream()
        .filter(Map.class::isInstance)
        .map(condition -> (Map<?, ?>) condition)
        .filter(c -> type.equals(c.get("type")) && "False".equals(c.get("status")))
        .map(c -> c.get("message"))
        .filter(String.class::isInstance)
        .map(String.class::cast)
        .filter(message -> !message.isBlank())
        .findFirst();
  }
}
