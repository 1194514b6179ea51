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
 * @param contact what the control plane hears of it
 * @param conditions types of the conditions that are True
 */
public record NodeState(String name, Contact contact, Set<String> conditions) {
  /** What the control plane hears of a node. */
  public enum Contact {
    /** Its kubelet reports. */
    HEARD,
    /** Its kubelet has not reported for so long that nobody knows what runs there. */
    SILENT,
    /** The API server does not have it any more. */
    GONE
  }

  public NodeState {
    conditions = Set.copyOf(conditions);
  }

  /** A node that the API server does not have, though a pod is bound to it. */
  public static NodeState gone(String name) {
    return new NodeState(name, Contact.GONE, Set.of());
  }

  /** Whether nobody will say what becomes of its pods. */
  public boolean lost() {
    return contact != Contact.HEARD;
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
                .anyMatch(c -> c.getType().equals("Ready") && c.getStatus().equals("Unknown"))
            ? Contact.SILENT
            : Contact.HEARD,
        conditions.stream()
            .filter(c -> "True".equals(c.getStatus()))
            .map(NodeCondition::getType)
            .collect(Collectors.toSet()));
  }
}
