package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Registry;
import dev.perigee.cli.cluster.api.ResourceType;
import dev.perigee.cli.cluster.api.Write;
import java.time.Instant;
import java.util.concurrent.atomic.AtomicLong;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Events about pods, as {@code kubectl describe} shows them. */
final class PodEvents {
  private static final Logger LOG = Logger.getLogger(PodEvents.class.getName());

  private final Registry registry;
  private final ResourceType events;
  private final AtomicLong serial = new AtomicLong(System.nanoTime());

  PodEvents(Registry registry, ResourceType events) {
    this.registry = registry;
    this.events = events;
  }

  /** Something went as it should. */
  void normal(JsonNode pod, String source, String reason, String message) {
    emit(pod, "Normal", source, reason, message);
  }

  /** Something did not. */
  void warning(JsonNode pod, String source, String reason, String message) {
    emit(pod, "Warning", source, reason, message);
  }

  private void emit(JsonNode pod, String type, String source, String reason, String message) {
    String namespace = Json.text(pod, "metadata", "namespace");
    String name = Json.text(pod, "metadata", "name");
    String now = ContainerState.time(Instant.now());
    ObjectNode event = Json.object();
    Json.metadata(event).put("name", name + "." + Long.toHexString(serial.incrementAndGet()));
    event
        .putObject("involvedObject")
        .put("kind", "Pod")
        .put("apiVersion", "v1")
        .put("namespace", namespace)
        .put("name", name)
        .put("uid", Json.text(pod, "metadata", "uid"));
    event.put("type", type).put("reason", reason).put("message", message).put("count", 1);
    event.put("firstTimestamp", now).put("lastTimestamp", now);
    event.putObject("source").put("component", source);
    event.put("reportingComponent", source).put("reportingInstance", "");
    try {
      registry.create(events, namespace, event, Write.by(source));
    } catch (ApiError e) {
      LOG.log(Level.FINE, e, () -> "an event about " + name); // its namespace is going
    }
  }
}
