package dev.perigee.operator.placement;

import dev.perigee.api.SchedulingSpec.Adapter;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.GenericKubernetesResourceBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Volcano's PodGroup, whose {@code minMember} is the whole gang. The pods go to the scheduler that
 * the manifest names, else to {@code volcano}.
 */
public record VolcanoPlacement() implements Placement {
  static final String API_VERSION = "scheduling.volcano.sh/v1beta1";
  static final String SCHEDULER = "volcano";

  @Override
  public Adapter adapter() {
    return Adapter.Volcano;
  }

  @Override
  public Optional<String> apiVersion() {
    return Optional.of(API_VERSION);
  }

  @Override
  public Optional<GenericKubernetesResource> group(PodGang gang) {
    Map<String, Object> spec = new HashMap<>();
    spec.put("minMember", gang.pods());
    if (gang.scheduling().queue() != null) {
      spec.put("queue", gang.scheduling().queue());
    }
    if (gang.priorityClassName() != null) {
      spec.put("priorityClassName", gang.priorityClassName());
    }
    return Optional.of(
        new GenericKubernetesResourceBuilder()
            .withApiVersion(API_VERSION)
            .withKind("PodGroup")
            .withMetadata(gang.group())
            .addToAdditionalProperties("spec", spec)
            .build());
  }

  @Override
  public Optional<Held> held(String group) {
    return Optional.of(new Held(API_VERSION, "podgroups", group));
  }

  @Override
  public Pod place(Pod pod, PodGang gang) {
    String scheduler = pod.getSpec().getSchedulerName();
    return new PodBuilder(ExpertGroups.pack(pod, gang))
        .editMetadata()
        .addToAnnotations("scheduling.k8s.io/group-name", gang.name())
        .endMetadata()
        .editSpec()
        .withSchedulerName(scheduler == null ? SCHEDULER : scheduler)
        .endSpec()
        .build();
  }
}
