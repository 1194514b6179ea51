package dev.perigee.operator.placement;

import dev.perigee.api.SchedulingSpec;
import dev.perigee.api.SchedulingSpec.Adapter;
import dev.perigee.operator.gang.GangLabels;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import java.util.Optional;

/**
 * A group of plain pods of Kueue. Each start of the gang is a group of its own that is not retried
 * pod by pod; Kueue's Workload has the group's name.
 *
 * <p>The scheduling gate is set here and not left to Kueue's webhook, so that no pod slips past
 * while the webhook is away. Where expert groups must stay together, Kueue is told so (a slice of
 * its topology-aware scheduling), because it must not admit a gang that then does not fit.
 *
 * @param version version of {@code kueue.x-k8s.io} that the API server serves
 */
public record KueuePlacement(String version) implements Placement {
  static final String GROUP = "kueue.x-k8s.io";

  /** What keeps a pod from being scheduled until Kueue admits its group. */
  public static final String GATE = GROUP + "/admission";

  /** What keeps a pod that is being deleted until Kueue knows that it has ended. */
  static final String FINALIZER = GROUP + "/managed";

  /** Label with the name of a pod's group, which is the Workload's. */
  static final String GROUP_NAME = GROUP + "/pod-group-name";

  @Override
  public Adapter adapter() {
    return Adapter.Kueue;
  }

  @Override
  public Optional<String> apiVersion() {
    return Optional.of(GROUP + "/" + version);
  }

  @Override
  public Optional<Held> held(String group) {
    return Optional.of(new Held(GROUP + "/" + version, "workloads", group));
  }

  @Override
  public Pod place(Pod pod, PodGang gang) {
    SchedulingSpec.ExpertGroups wish = gang.scheduling().expertGroups();
    boolean slices =
        wish != null
            && gang.expertGroupPods() > 1
            && wish.mode() == SchedulingSpec.ExpertGroups.Mode.Required;
    PodBuilder placed =
        new PodBuilder(slices ? pod : ExpertGroups.pack(pod, gang))
            .editMetadata()
            .addToLabels(GROUP + "/queue-name", gang.scheduling().queue())
            .addToLabels(GROUP_NAME, gang.name())
            .addToAnnotations(GROUP + "/pod-group-total-count", Integer.toString(gang.pods()))
            .addToAnnotations(GROUP + "/pod-group-pod-index-label", GangLabels.POD_INDEX)
            .addToAnnotations(GROUP + "/retriable-in-group", "false")
            .endMetadata()
            .editSpec()
            .addNewSchedulingGate(GATE)
            .endSpec();
    if (slices) {
      placed
          .editMetadata()
          .addToAnnotations(GROUP + "/podset-slice-required-topology", wish.topologyKey())
          .addToAnnotations(GROUP + "/podset-slice-size", Integer.toString(gang.expertGroupPods()))
          .endMetadata();
    }
    return placed.build();
  }
}
