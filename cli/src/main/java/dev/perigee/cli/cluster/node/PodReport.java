package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import java.time.Instant;

/**
 * What a node says of a pod of one container.
 *
 * @param phase Pending, Running, Succeeded or Failed
 * @param state of the container
 * @param last its state before the last restart, null when it was never restarted
 * @param restarts how often it was restarted
 * @param podIp the pod's address, empty when it has none yet
 */
record PodReport(
    String phase,
    ContainerState state,
    ContainerState.Terminated last,
    int restarts,
    String podIp) {

  /** A status with this report in it; transition times of conditions that did not change stay. */
  ObjectNode writeTo(ObjectNode pod, Instant startTime) {
    ObjectNode status = Json.child(pod, "status");
    String now = ContainerState.time(Instant.now());
    status.put("phase", phase);
    status.put("hostIP", "127.0.0.1");
    status.putArray("hostIPs").addObject().put("ip", "127.0.0.1");
    status.put("startTime", ContainerState.time(startTime));
    if (!podIp.isEmpty()) {
      status.put("podIP", podIp);
      status.putArray("podIPs").addObject().put("ip", podIp);
    }
    JsonNode container = Json.at(pod, "spec", "containers").path(0);
    boolean ready = state instanceof ContainerState.Running running && running.ready();
    ObjectNode one = status.putArray("containerStatuses").addObject();
    one.put("name", Json.text(container, "name"))
        .put("image", Json.text(container, "image"))
        .put("imageID", "")
        .put("restartCount", restarts)
        .put("ready", ready)
        .put("started", state instanceof ContainerState.Running);
    one.set("state", state.toJson());
    one.set("lastState", last == null ? Json.object() : last.toJson());
    boolean ended = phase.equals("Succeeded") || phase.equals("Failed");
    String reason =
        ready
            ? ""
            : phase.equals("Succeeded")
                ? "PodCompleted"
                : ended ? "PodFailed" : "ContainersNotReady";
    condition(status, "PodReadyToStartContainers", !podIp.isEmpty() && !ended, "", now);
    condition(status, "Initialized", true, phase.equals("Succeeded") ? "PodCompleted" : "", now);
    condition(status, "Ready", ready, reason, now);
    condition(status, "ContainersReady", ready, reason, now);
    condition(status, "PodScheduled", true, "", now);
    return pod;
  }

  /** Sets a condition of a status. */
  static void condition(ObjectNode status, String type, boolean holds, String reason, String now) {
    ArrayNode conditions =
        status.get("conditions") instanceof ArrayNode present
            ? present
            : status.putArray("conditions");
    ObjectNode condition = null;
    for (JsonNode c : conditions) {
      if (Json.text(c, "type").equals(type)) {
        condition = (ObjectNode) c;
      }
    }
    if (condition == null) {
      condition = conditions.addObject().put("type", type);
    }
    String value = holds ? "True" : "False";
    if (!Json.text(condition, "status").equals(value)) {
      condition.put("status", value).put("lastTransitionTime", now);
    }
    if (reason.isEmpty()) {
      condition.remove("reason");
    } else {
      condition.put("reason", reason);
    }
  }
}
