package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.Node;
import io.fabric8.kubernetes.api.model.NodeCondition;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What the operator needs to know of a pod's node.
 *
 * @param name the node's name
 * @param lost whether it is gone, or silent for so long that the control plane no longer knows of
 *     it
 * @param conditions types of the conditions that are True
 */
public record NodeState(String name, boolean lost, Set<String> conditions) {
  public NodeState {
    conditions = Set.copyOf(conditions);
  }

  /** A node that the API server does not have, though a pod is bound to it. */
  public static NodeState gone(String name) {
    return new NodeState(name, true, Set.of());
  }

  /**
   * Reads a node. One whose kubelet says that it is not ready is not lost: its pods go on, until
   * the cluster evicts them.
   */
  public static NodeState of(Node node) {
    List<NodeCondition> conditions =
        Optional.ofNullable(node.getStatus()).map(s -> s.getConditions()).orElse(List.of());
    return new NodeState(
        node.getMetadata().getName(),
        conditions.stream()
            .anyMatch(c -> c.getType().equals("Ready") && c.getStatus().equals("Unknown")),
        conditions.stream()
            .filter(c -> "True".equals(c.getStatus()))
            .map(NodeCondition::getType)
            .collect(Collectors.toSet()));
  }
}
