package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

/**
 * How to delete.
 *
 * @param gracePeriodSeconds for pods; null for the pod's own
 * @param uid delete only this incarnation; empty for any
 * @param resourceVersion delete only this version; empty for any
 */
public record Deletion(
    Propagation propagation, Integer gracePeriodSeconds, String uid, String resourceVersion) {
  private static final String FOREGROUND = "foregroundDeletion";
  private static final String ORPHAN = "orphan";

  /** As clients that ask for nothing get it. */
  public static final Deletion DEFAULT = new Deletion(Propagation.Background, null, "", "");

  /** What to do with the objects that a deleted one owns. */
  public enum Propagation {
    Background,
    Foreground,
    Orphan
  }

  /** How a request, with the options in its body, wants to delete. */
  static Deletion of(ApiRequest request, ObjectNode options) {
    String policy = request.param("propagationPolicy");
    policy = policy.isEmpty() ? Json.text(options, "propagationPolicy") : policy;
    Propagation propagation =
        switch (policy) {
          case "", "Background" -> Propagation.Background;
          case "Foreground" -> Propagation.Foreground;
          case "Orphan" -> Propagation.Orphan;
          default ->
              throw ApiError.badRequest(
                  "propagationPolicy: " + policy + "; expected Background, Foreground or Orphan");
        };
    if (request.flag("orphanDependents") || Json.at(options, "orphanDependents").asBoolean(false)) {
      propagation = Propagation.Orphan;
    }
    JsonNode grace = Json.at(options, "gracePeriodSeconds");
    Integer seconds = grace.isNumber() ? Integer.valueOf(grace.asInt()) : null;
    if (!request.param("gracePeriodSeconds").isEmpty()) {
      seconds = (int) request.number("gracePeriodSeconds", 0);
    }
    return new Deletion(
        propagation,
        seconds,
        Json.text(options, "preconditions", "uid"),
        Json.text(options, "preconditions", "resourceVersion"));
  }

  /** Whether something still keeps an object that is being deleted. */
  static boolean held(ResourceType type, ObjectNode object) {
    return !Json.at(object, "metadata", "finalizers").isEmpty()
        || (type.isCore("Namespace") && !Json.at(object, "spec", "finalizers").isEmpty())
        || (type.isCore("Pod")
            && Json.at(object, "metadata", "deletionGracePeriodSeconds").asInt(0) > 0);
  }

  /** The object as it is once it is being deleted; equal to it when it already is. */
  ObjectNode mark(ResourceType type, ObjectNode live) {
    ObjectNode marked = live.deepCopy();
    ObjectNode metadata = Json.metadata(marked);
    int grace = type.isCore("Pod") ? graceOf(live) : 0;
    boolean first = !metadata.has("deletionTimestamp");
    if (first) {
      ArrayNode finalizers =
          metadata.get("finalizers") instanceof ArrayNode present ? present : Json.array();
      switch (propagation) {
        case Background -> {}
        case Foreground -> finalizers.add(FOREGROUND);
        case Orphan -> finalizers.add(ORPHAN);
      }
      if (!finalizers.isEmpty()) {
        metadata.set("finalizers", finalizers);
      }
      if (type.isCore("Namespace")) {
        Json.child(marked, "status").put("phase", "Terminating");
      }
      if (type.storageName().startsWith("customresourcedefinitions.")) {
        // The objects of the kind go first; see NamespaceLifecycle.
        metadata.withArray("finalizers").add("customresourcecleanup.apiextensions.k8s.io");
      }
    }
    boolean shorter =
        type.isCore("Pod") && grace < metadata.path("deletionGracePeriodSeconds").asInt(0);
    if (first || shorter) {
      Instant at = Instant.now().truncatedTo(ChronoUnit.SECONDS).plus(Duration.ofSeconds(grace));
      metadata.put("deletionTimestamp", at.toString());
      metadata.put("deletionGracePeriodSeconds", grace);
      if (ServerFields.generational(type)) {
        metadata.put("generation", metadata.path("generation").asLong(0) + 1);
      }
    }
    return marked;
  }

  private int graceOf(ObjectNode pod) {
    String phase = Json.text(pod, "status", "phase");
    boolean running =
        !Json.text(pod, "spec", "nodeName").isEmpty()
            && !phase.equals("Succeeded")
            && !phase.equals("Failed");
    if (!running) {
      return 0;
    }
    return gracePeriodSeconds != null
        ? gracePeriodSeconds
        : Json.at(pod, "spec", "terminationGracePeriodSeconds").asInt(30);
  }
}
