package dev.perigee.operator.placement;

import java.util.Optional;

/**
 * What the API server serves of the schedulers that can let a gang in.
 *
 * @param kueue version of Kueue's API, empty for none
 * @param volcano whether Volcano's PodGroup is there
 * @param podGroup version of Kubernetes' own PodGroup, empty for none
 */
public record ServedSchedulers(Optional<String> kueue, boolean volcano, Optional<String> podGroup) {
  /** None of them. */
  public static final ServedSchedulers NONE =
      new ServedSchedulers(Optional.empty(), false, Optional.empty());
}
