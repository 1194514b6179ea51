package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Quantities;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Whether a pod fits the only node, as a pure function. */
final class Scheduler {
  private Scheduler() {}

  /**
   * Why a pod does not fit, empty when it does.
   *
   * @param node the node with its labels and allocatable resources
   * @param running the pods that the node runs now
   */
  static Optional<String> obstacle(JsonNode pod, ObjectNode node, List<ObjectNode> running) {
    if (Json.at(node, "spec", "unschedulable").asBoolean()) {
      return Optional.of("0/1 nodes are available: 1 node(s) were unschedulable.");
    }
    for (JsonNode taint : Json.at(node, "spec", "taints")) {
      if (!Json.text(taint, "effect").equals("PreferNoSchedule") && !tolerates(pod, taint)) {
        return Optional.of(
            "0/1 nodes are available: 1 node(s) had untolerated taint {%s: %s}."
                .formatted(Json.text(taint, "key"), Json.text(taint, "value")));
      }
    }
    for (Map.Entry<String, JsonNode> wanted : Json.at(pod, "spec", "nodeSelector").properties()) {
      String found = Json.text(node, "metadata", "labels", wanted.getKey());
      if (!found.equals(wanted.getValue().asText())) {
        return Optional.of(
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector ("
                + wanted.getKey()
                + "="
                + wanted.getValue().asText()
                + ").");
      }
    }
    for (JsonNode container : Json.at(pod, "spec", "containers")) {
      for (Map.Entry<String, JsonNode> request : requests(container).properties()) {
        String resource = request.getKey();
        String allocatable = Json.text(node, "status", "allocatable", resource);
        BigDecimal free = allocatable.isEmpty() ? BigDecimal.ZERO : Quantities.value(allocatable);
        for (ObjectNode other : running) {
          for (JsonNode c : Json.at(other, "spec", "containers")) {
            String used = Json.text(requests(c), resource);
            free = used.isEmpty() ? free : free.subtract(Quantities.value(used));
          }
        }
        if (Quantities.value(request.getValue().asText()).compareTo(free) > 0) {
          return Optional.of(
              "0/1 nodes are available: 1 Insufficient "
                  + resource
                  + " (wanted "
                  + request.getValue().asText()
                  + ", free "
                  + free.max(BigDecimal.ZERO).toPlainString()
                  + ").");
        }
      }
    }
    return Optional.empty();
  }

  /** Whether a pod puts up with a taint; an empty key or effect of a toleration means any. */
  private static boolean tolerates(JsonNode pod, JsonNode taint) {
    for (JsonNode t : Json.at(pod, "spec", "tolerations")) {
      String key = Json.text(t, "key");
      String effect = Json.text(t, "effect");
      boolean exists = Json.text(t, "operator").equals("Exists");
      if ((key.equals(Json.text(taint, "key")) || (key.isEmpty() && exists))
          && (exists || Json.text(t, "value").equals(Json.text(taint, "value")))
          && (effect.isEmpty() || effect.equals(Json.text(taint, "effect")))) {
        return true;
      }
    }
    return false;
  }

  /** Requests; a limit without a request counts as one. */
  private static ObjectNode requests(JsonNode container) {
    ObjectNode requests = Json.object();
    container
        .path("resources")
        .path("limits")
        .properties()
        .forEach(e -> requests.set(e.getKey(), e.getValue()));
    container
        .path("resources")
        .path("requests")
        .properties()
        .forEach(e -> requests.set(e.getKey(), e.getValue()));
    return requests;
  }
}
