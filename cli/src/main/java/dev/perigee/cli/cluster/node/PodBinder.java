package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Registry;
import dev.perigee.cli.cluster.api.ResourceType;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Gives waiting pods to the node, where {@link Scheduler} says that they fit. */
final class PodBinder {
  private static final Logger LOG = Logger.getLogger(PodBinder.class.getName());

  private final Registry registry;
  private final ResourceType nodes;
  private final PodObjects pods;
  private final PodEvents events;

  PodBinder(Registry registry, ResourceType nodes, PodObjects pods, PodEvents events) {
    this.registry = registry;
    this.nodes = nodes;
    this.pods = pods;
    this.events = events;
  }

  /** Looks at every pod that waits for a node. */
  void schedule() {
    List<ObjectNode> all = pods.list("");
    List<ObjectNode> running =
        new ArrayList<>(
            all.stream()
                .filter(
                    p ->
                        Json.text(p, "spec", "nodeName").equals(LocalNode.NAME)
                            && !PodObjects.ended(p))
                .toList());
    ObjectNode node = registry.get(nodes, "", LocalNode.NAME);
    for (ObjectNode pod : all) {
      boolean waiting =
          Json.text(pod, "spec", "nodeName").isEmpty()
              && Json.at(pod, "spec", "schedulingGates").isEmpty()
              && !Json.at(pod, "metadata").has("deletionTimestamp");
      if (waiting) {
        try {
          Optional<String> obstacle = Scheduler.obstacle(pod, node, running);
          if (obstacle.isPresent()) {
            unschedulable(pod, obstacle.get());
          } else {
            running.add(pod);
            bind(pod);
          }
        } catch (ApiError e) {
          LOG.log(Level.FINE, e, () -> "the pod went while it was scheduled");
        } catch (RuntimeException e) {
          LOG.log(Level.WARNING, e, () -> "cannot schedule " + Json.text(pod, "metadata", "name"));
        }
      }
    }
  }

  private void bind(ObjectNode pod) {
    pods.bind(pod, LocalNode.NAME);
    String name = Json.text(pod, "metadata", "name");
    events.normal(
        pod,
        "default-scheduler",
        "Scheduled",
        "Successfully assigned " + name + " to " + LocalNode.NAME);
  }

  private void unschedulable(ObjectNode pod, String why) {
    for (JsonNode condition : Json.at(pod, "status", "conditions")) {
      if (Json.text(condition, "message").equals(why)) {
        return;
      }
    }
    pods.updateStatus(
        pod,
        live -> {
          ObjectNode status = Json.child(live, "status");
          String now = ContainerState.time(Instant.now());
          PodReport.condition(status, "PodScheduled", false, "Unschedulable", now);
          status
              .path("conditions")
              .forEach(
                  c -> {
                    if (Json.text(c, "type").equals("PodScheduled")) {
                      ((ObjectNode) c).put("message", why);
                    }
                  });
          return live;
        });
    events.warning(pod, "default-scheduler", "FailedScheduling", why);
  }
}
