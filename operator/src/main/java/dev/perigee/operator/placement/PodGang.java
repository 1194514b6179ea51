package dev.perigee.operator.placement;

import dev.perigee.api.SchedulingSpec;
import io.fabric8.kubernetes.api.model.ObjectMeta;

/**
 * What a scheduler needs to know of one start of a gang.
 *
 * @param group metadata of the object that stands for the gang: a name of at most 63 characters
 *     that no other start has, labels and owner
 * @param pods pods of the gang; fewer are of no use
 * @param expertGroupPods pods that an expert group spans, 1 when each has one to itself
 * @param scheduling what the manifest asks for
 * @param priorityClassName PriorityClass of the pods, null for none
 */
public record PodGang(
    ObjectMeta group,
    int pods,
    int expertGroupPods,
    SchedulingSpec scheduling,
    String priorityClassName) {

  /** The group's name. */
  public String name() {
    return group.getName();
  }

  /**
   * Pods after which expert groups and pods end together, when ranks are ordered expert fastest:
   * {@code lcm(expert, ranksPerPod) / ranksPerPod}. An expert group that lies within one pod needs
   * one; groups that share a pod stay together.
   *
   * @param expert ranks of an expert group
   * @param ranksPerPod ranks of a pod
   */
  public static int expertGroupPods(int expert, int ranksPerPod) {
    int a = expert;
    int b = ranksPerPod;
    while (b != 0) {
      int rest = a % b;
      a = b;
      b = rest;
    }
    return expert / a;
  }
}
