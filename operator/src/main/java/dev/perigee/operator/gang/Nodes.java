package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.Quantity;
import java.util.Map;
import java.util.Optional;

/** The nodes of the cluster, as far as they may be read. */
public interface Nodes {
  /** Nodes that may not be read. */
  Nodes UNREADABLE =
      new Nodes() {
        @Override
        public Optional<NodeState> named(String name) {
          return Optional.empty();
        }

        @Override
        public Optional<Map<String, Quantity>> most(Map<String, String> labels) {
          return Optional.empty();
        }
      };

  /** A node by its name, empty when nodes may not be read. */
  Optional<NodeState> named(String name);

  /**
   * For each resource the most that any one node has for pods, whatever runs there now; empty when
   * nodes may not be read.
   *
   * @param labels which a node must have to be looked at
   */
  Optional<Map<String, Quantity>> most(Map<String, String> labels);
}
