package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Map;

/**
 * Events have two APIs, {@code v1} and {@code events.k8s.io/v1}, over the same objects. They are
 * stored in the form of the first, which {@code kubectl describe} reads, and translated for the
 * second.
 */
final class EventVersions {
  /** Field names, of the newer API to the core one. */
  private static final Map<String, String> NAMES =
      Map.of(
          "regarding", "involvedObject",
          "note", "message",
          "reportingController", "reportingComponent",
          "deprecatedSource", "source",
          "deprecatedFirstTimestamp", "firstTimestamp",
          "deprecatedLastTimestamp", "lastTimestamp",
          "deprecatedCount", "count");

  private EventVersions() {}

  /** Whether a kind is the newer Event. */
  static boolean translated(ResourceType type) {
    return type.group().equals("events.k8s.io");
  }

  /** The newer form as the core one. */
  static ObjectNode toCore(ObjectNode event) {
    ObjectNode core = event.deepCopy();
    NAMES.forEach((newer, older) -> rename(core, newer, older));
    core.put("apiVersion", "v1");
    if (!core.has("source")) {
      core.putObject("source").put("component", Json.text(core, "reportingComponent"));
    }
    String time = Json.text(core, "eventTime");
    if (!time.isEmpty()) {
      for (String field : List.of("firstTimestamp", "lastTimestamp")) {
        if (!core.has(field)) {
          core.put(field, time.replaceAll("\\.\\d+", ""));
        }
      }
    }
    return core;
  }

  /** The core form as the newer one. */
  static ObjectNode fromCore(ObjectNode event) {
    ObjectNode newer = event.deepCopy();
    NAMES.forEach((name, older) -> rename(newer, older, name));
    return newer.put("apiVersion", "events.k8s.io/v1");
  }

  private static void rename(ObjectNode object, String from, String to) {
    if (object.has(from)) {
      object.set(to, object.remove(from));
    }
  }
}
