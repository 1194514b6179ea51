package dev.perigee.operator.placement;

import dev.perigee.api.SchedulingSpec;
import dev.perigee.operator.gang.GangLabels;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodAffinityTerm;
import io.fabric8.kubernetes.api.model.PodAffinityTermBuilder;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.WeightedPodAffinityTerm;
import java.util.Map;

/**
 * Keeps the pods of an expert group together by affinity to each other. The group's number is a
 * label and the affinity is to pods with the same one ({@code matchLabelKeys}), so all pods of a
 * gang have the same specification: Kueue allows no more than eight different ones.
 */
public final class ExpertGroups {
  private static final int HEAVIEST = 100;

  private ExpertGroups() {}

  /** The label of a pod: which expert group its ranks belong to, counted over the whole job. */
  public static Pod label(Pod pod, int index, PodGang gang) {
    return new PodBuilder(pod)
        .editMetadata()
        .addToLabels(GangLabels.EXPERT_GROUP, Integer.toString(index / gang.expertGroupPods()))
        .endMetadata()
        .build();
  }

  /** Adds the affinity that the manifest asks for; nothing when a group lies in one pod anyway. */
  static Pod pack(Pod pod, PodGang gang) {
    SchedulingSpec.ExpertGroups wish = gang.scheduling().expertGroups();
    if (wish == null || gang.expertGroupPods() == 1) {
      return pod;
    }
    PodAffinityTerm same = sameGroup(pod.getMetadata().getLabels(), wish.topologyKey());
    var affinity = new PodBuilder(pod).editOrNewSpec().editOrNewAffinity().editOrNewPodAffinity();
    return (switch (wish.mode()) {
          case Required -> affinity.addToRequiredDuringSchedulingIgnoredDuringExecution(same);
          case Preferred ->
              affinity.addToPreferredDuringSchedulingIgnoredDuringExecution(
                  new WeightedPodAffinityTerm(same, HEAVIEST));
        })
        .endPodAffinity()
        .endAffinity()
        .endSpec()
        .build();
  }

  private static PodAffinityTerm sameGroup(Map<String, String> labels, String topologyKey) {
    return new PodAffinityTermBuilder()
        .withTopologyKey(topologyKey)
        .withNewLabelSelector()
        .addToMatchLabels(GangLabels.KIND, labels.get(GangLabels.KIND))
        .addToMatchLabels(GangLabels.JOB, labels.get(GangLabels.JOB))
        .endLabelSelector()
        .withMatchLabelKeys(GangLabels.EXPERT_GROUP)
        .build();
  }
}
