package dev.perigee.operator.placement;

import dev.perigee.api.SchedulingSpec.Adapter;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.Pod;
import java.util.Optional;

/** One way to have a gang let in as a whole. Pure: from pods to pods. */
public sealed interface Placement
    permits Unmanaged, KueuePlacement, VolcanoPlacement, PodGroupPlacement {

  /** Its name in the manifest and in the status. */
  Adapter adapter();

  /** Group and version of the API that it uses, empty when it uses none. */
  Optional<String> apiVersion();

  /**
   * The pod with what the scheduler reads.
   *
   * @param pod a pod of the gang, labelled with its {@link ExpertGroups#label group}; it stays as
   *     it is
   */
  Pod place(Pod pod, PodGang gang);

  /** The object that has to be there before the pods, empty when none has to. */
  default Optional<GenericKubernetesResource> group(PodGang gang) {
    return Optional.empty();
  }

  /** What a start that is over still holds at the scheduler, empty when it holds nothing. */
  default Optional<Held> held(String group) {
    return Optional.empty();
  }

  /**
   * An object that stands for a gang at its scheduler.
   *
   * @param apiVersion group and version
   * @param plural the resource's name in paths
   * @param name the object's name
   */
  record Held(String apiVersion, String plural, String name) {}
}
