package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Quantities;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

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
    return shortage(pod, node, running);
  }

  /**
   * What the node has too little of. The pods of a gang do nothing until all of them run, so the
   * first of them goes to the node only when there is room for all, and what the others need is
   * kept for them: else two gangs would wait for each other's room for ever.
   */
  private static Optional<String> shortage(
      JsonNode pod, ObjectNode node, List<ObjectNode> running) {
    Optional<Gang> gang = Gang.of(pod);
    Map<Gang, List<ObjectNode>> begun = new HashMap<>();
    Map<String, BigDecimal> taken = new HashMap<>();
    for (ObjectNode other : running) {
      take(taken, other, 1);
      Gang.of(other).ifPresent(g -> begun.computeIfAbsent(g, _ -> new ArrayList<>()).add(other));
    }
    begun.forEach(
        (other, pods) -> {
          if (!gang.equals(Optional.of(other))) {
            take(taken, pods.getFirst(), Math.max(0, other.size() - pods.size()));
          }
        });
    int together = gang.filter(g -> !begun.containsKey(g)).map(Gang::size).orElse(1);
    for (Map.Entry<String, BigDecimal> request : requests(pod).entrySet()) {
      String resource = request.getKey();
      String allocatable = Json.text(node, "status", "allocatable", resource);
      BigDecimal free =
          (allocatable.isEmpty() ? BigDecimal.ZERO : Quantities.value(allocatable))
              .subtract(taken.getOrDefault(resource, BigDecimal.ZERO));
      BigDecimal wanted = request.getValue().multiply(BigDecimal.valueOf(together));
      if (wanted.compareTo(free) > 0) {
        return Optional.of(
            "0/1 nodes are available: 1 Insufficient %s (%s, free %s)."
                .formatted(
                    resource,
                    (together == 1 ? "wanted " : "the " + together + " pods of its gang want ")
                        + wanted.stripTrailingZeros().toPlainString(),
                    free.max(BigDecimal.ZERO).stripTrailingZeros().toPlainString()));
      }
    }
    return Optional.empty();
  }

  /** Adds what a number of pods like this one request. */
  private static void take(Map<String, BigDecimal> taken, JsonNode pod, int number) {
    requests(pod)
        .forEach(
            (resource, each) ->
                taken.merge(resource, each.multiply(BigDecimal.valueOf(number)), BigDecimal::add));
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

  /** What the containers of a pod request in all; a limit without a request counts as one. */
  private static Map<String, BigDecimal> requests(JsonNode pod) {
    Map<String, BigDecimal> requests = new TreeMap<>();
    for (JsonNode container : Json.at(pod, "spec", "containers")) {
      ObjectNode own = Json.object();
      for (String kind : List.of("limits", "requests")) {
        Json.at(container, "resources", kind)
            .properties()
            .forEach(e -> own.set(e.getKey(), e.getValue()));
      }
      own.properties()
          .forEach(
              e ->
                  requests.merge(
                      e.getKey(), Quantities.value(e.getValue().asText()), BigDecimal::add));
    }
    return requests;
  }

  /** The pods of one start of a job, by the labels that its operator gives them. */
  private record Gang(String namespace, String job, String generation, int size) {
    /** The gang of a pod; a spare is in none yet. */
    static Optional<Gang> of(JsonNode pod) {
      String generation = label(pod, "generation");
      String size = label(pod, "gang-size");
      return generation.equals("0") || !size.matches("[0-9]{1,6}")
          ? Optional.empty()
          : Optional.of(
              new Gang(
                  Json.text(pod, "metadata", "namespace"),
                  label(pod, "job"),
                  generation,
                  Integer.parseInt(size)));
    }

    private static String label(JsonNode pod, String name) {
      return Json.text(pod, "metadata", "labels", "perigee.dev/" + name);
    }
  }
}
