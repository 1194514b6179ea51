package dev.perigee.operator.pretrain;

import dev.perigee.api.GangFailure;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import io.fabric8.kubernetes.api.model.Affinity;
import io.fabric8.kubernetes.api.model.AffinityBuilder;
import io.fabric8.kubernetes.api.model.NodeSelectorRequirement;
import java.util.List;
import java.util.Optional;

/**
 * Keeps a start off the nodes whose kubelets turned pods of the one before away: a scheduler knows
 * nothing of that, and finds such a node the emptiest. It is a preference, so a cluster that has
 * only such nodes is tried on them again. All pods of a start have the same.
 */
final class OtherNodes {
  private static final int HEAVIEST = 100;

  private OtherNodes() {}

  /** The preference for the pods of one start, null when all nodes are as good. */
  static Affinity preferred(PretrainJob job, int generation) {
    List<String> shunned =
        Optional.ofNullable(job.getStatus())
            .map(PretrainJobStatus::lastFailure)
            .filter(failure -> Integer.valueOf(generation - 1).equals(failure.attempt()))
            .map(GangFailure::rejectedBy)
            .orElse(List.of());
    return shunned.isEmpty()
        ? null
        : new AffinityBuilder()
            .withNewNodeAffinity()
            .addNewPreferredDuringSchedulingIgnoredDuringExecution()
            .withWeight(HEAVIEST)
            .withNewPreference()
            .withMatchFields(shunned.stream().map(OtherNodes::isNot).toList())
            .endPreference()
            .endPreferredDuringSchedulingIgnoredDuringExecution()
            .endNodeAffinity()
            .build();
  }

  /** The API server takes one name in each. */
  private static NodeSelectorRequirement isNot(String node) {
    return new NodeSelectorRequirement("metadata.name", "NotIn", List.of(node));
  }
}
