package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.UUID;

/** What the server decides of an object, whatever a client sends. */
final class ServerFields {
  private ServerFields() {}

  /** Removes what a client may not say of an object that it creates. */
  static void clear(ObjectNode object) {
    Json.metadata(object)
        .remove(
            List.of(
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "generation",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "selfLink",
                "managedFields"));
  }

  /** Gives a new object its identity. */
  static void begin(ResourceType type, ObjectNode object) {
    ObjectNode metadata = Json.metadata(object);
    metadata.put("uid", UUID.randomUUID().toString());
    metadata.put("creationTimestamp", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
    if (generational(type)) {
      metadata.put("generation", 1);
    }
  }

  /** Whether kind, namespace and name of what a client sent are those that it was sent to. */
  static void checkIdentity(ResourceType type, String namespace, String name, ObjectNode object) {
    String apiVersion = Json.text(object, "apiVersion");
    String kind = Json.text(object, "kind");
    if (!apiVersion.isEmpty() && !apiVersion.equals(type.apiVersion())) {
      throw ApiError.badRequest(
          "the API version in the data ("
              + apiVersion
              + ") does not match the expected API version ("
              + type.apiVersion()
              + ")");
    }
    if (!kind.isEmpty() && !kind.equals(type.kind())) {
      throw ApiError.badRequest(
          "the kind in the data ("
              + kind
              + ") does not match the expected kind ("
              + type.kind()
              + ")");
    }
    object.put("apiVersion", type.apiVersion()).put("kind", type.kind());
    String own = Json.text(object, "metadata", "namespace");
    if (type.namespaced() && !own.isEmpty() && !own.equals(namespace)) {
      throw ApiError.badRequest(
          "the namespace of the provided object does not match the namespace sent on the request");
    }
    String ownName = Json.text(object, "metadata", "name");
    if (name != null && !ownName.isEmpty() && !ownName.equals(name)) {
      throw ApiError.badRequest(
          "the name of the object ("
              + ownName
              + ") does not match the name on the URL ("
              + name
              + ")");
    }
  }

  /** Takes from the live object what no client changes. */
  static void keep(ObjectNode live, ObjectNode object) {
    ObjectNode metadata = Json.metadata(object);
    JsonNode old = live.path("metadata");
    for (String field :
        List.of(
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "generateName",
            "deletionTimestamp",
            "deletionGracePeriodSeconds")) {
      if (old.has(field)) {
        metadata.set(field, old.get(field));
      } else {
        metadata.remove(field);
      }
    }
    if (!metadata.has("managedFields") && old.has("managedFields")) {
      metadata.set("managedFields", old.get("managedFields"));
    }
  }

  /** The live object with the next one's status. */
  static ObjectNode withStatusOf(ObjectNode live, ObjectNode next) {
    ObjectNode object = live.deepCopy();
    if (next.has("status")) {
      object.set("status", next.get("status"));
    } else {
      object.remove("status");
    }
    if (next.path("metadata").has("managedFields")) {
      Json.metadata(object).set("managedFields", next.path("metadata").get("managedFields"));
    }
    return object;
  }

  /** Whether two states of an object differ in nothing that its generation counts. */
  static boolean sameButMetadataAndStatus(ObjectNode one, ObjectNode other) {
    ObjectNode a = one.deepCopy();
    ObjectNode b = other.deepCopy();
    a.remove(List.of("metadata", "status"));
    b.remove(List.of("metadata", "status"));
    return a.equals(b);
  }

  /** Whether objects of a kind have a generation. */
  static boolean generational(ResourceType type) {
    return type.custom() || type.kind().equals("CustomResourceDefinition") || type.isCore("Pod");
  }
}
