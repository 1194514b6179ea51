package dev.perigee.operator.placement;

import dev.perigee.api.SchedulingSpec.Adapter;
import io.fabric8.kubernetes.api.model.Pod;
import java.util.Optional;

/** Nobody lets the gang in as a whole: its pods are scheduled one by one. */
public record Unmanaged() implements Placement {
  @Override
  public Adapter adapter() {
    return Adapter.None;
  }

  @Override
  public Optional<String> apiVersion() {
    return Optional.empty();
  }

  @Override
  public Pod place(Pod pod, PodGang gang) {
    return ExpertGroups.pack(pod, gang);
  }
}
