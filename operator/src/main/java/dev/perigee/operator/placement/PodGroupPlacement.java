package dev.perigee.operator.placement;

import dev.perigee.api.SchedulingSpec.Adapter;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.GenericKubernetesResourceBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import java.util.Map;
import java.util.Optional;

/**
 * The PodGroup of Kubernetes itself (KEP-4671), whose {@code minCount} is the whole gang.
 *
 * @param version version of {@code scheduling.k8s.io} that the API server serves; it changes from
 *     release to release, so nothing here is bound to one at compile time
 */
public record PodGroupPlacement(String version) implements Placement {
  static final String GROUP = "scheduling.k8s.io";

  @Override
  public Adapter adapter() {
    return Adapter.PodGroup;
  }

  @Override
  public Optional<String> apiVersion() {
    return Optional.of(GROUP + "/" + version);
  }

  @Override
  public Optional<GenericKubernetesResource> group(PodGang gang) {
    Map<String, Object> policy = Map.of("gang", Map.of("minCount", gang.pods()));
    return Optional.of(
        new GenericKubernetesResourceBuilder()
            .withApiVersion(GROUP + "/" + version)
            .withKind("PodGroup")
            .withMetadata(gang.group())
            .addToAdditionalProperties("spec", Map.of("schedulingPolicy", policy))
            .build());
  }

  @Override
  public Optional<Held> held(String group) {
    return Optional.of(new Held(GROUP + "/" + version, "podgroups", group));
  }

  @Override
  public Pod place(Pod pod, PodGang gang) {
    return new PodBuilder(ExpertGroups.pack(pod, gang))
        .editSpec()
        .addToAdditionalProperties("schedulingGroup", Map.of("podGroupName", gang.name()))
        .endSpec()
        .build();
  }
}
