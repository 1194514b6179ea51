package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ObjectStore.ObjectKey;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Deletes what nobody owns any longer, and finishes what waits for its dependents: foreground and
 * orphaning deletions, namespaces that are being emptied, and CRDs whose objects must go first.
 */
public final class GarbageCollector implements AutoCloseable {
  private static final Logger LOG = Logger.getLogger(GarbageCollector.class.getName());
  private static final String CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io";
  private static final Write WRITE = Write.by("garbage-collector");

  private final ObjectStore store;
  private final ResourceCatalog catalog;
  private final Registry registry;
  private final Thread thread;

  /** Starts collecting. */
  public GarbageCollector(ObjectStore store, ResourceCatalog catalog, Registry registry) {
    this.store = store;
    this.catalog = catalog;
    this.registry = registry;
    this.thread = Thread.ofVirtual().name("garbage-collector").start(this::run);
  }

  private void run() {
    long seen = 0;
    try {
      while (!store.closed()) {
        long now = store.revision();
        if (now == seen) {
          store.changesAfter(seen, "", 60_000);
          continue;
        }
        seen = now;
        collect();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Looks at every object once. There are few, and they change rarely, so this is cheap. */
  private void collect() {
    Map<ObjectKey, ObjectNode> objects = store.all();
    Map<String, ObjectNode> byUid = new HashMap<>();
    objects.values().forEach(o -> byUid.put(Json.text(o, "metadata", "uid"), o));
    objects.forEach(
        (key, object) -> {
          try {
            catalog
                .ofStorageName(key.resource())
                .ifPresent(type -> look(type, key, object, objects, byUid));
          } catch (ApiError e) {
            // Another write came between; its change brings us back here.
            LOG.log(Level.FINE, e, () -> "collecting " + key);
          }
        });
  }

  private void look(
      ResourceType type,
      ObjectKey key,
      ObjectNode object,
      Map<ObjectKey, ObjectNode> objects,
      Map<String, ObjectNode> byUid) {
    JsonNode owners = Json.at(object, "metadata", "ownerReferences");
    boolean deleting = Json.at(object, "metadata").has("deletionTimestamp");
    if (!owners.isEmpty() && !deleting && ownersGone(owners, byUid)) {
      delete(type, key, Deletion.Propagation.Background);
      return;
    }
    if (!deleting) {
      return;
    }
    if (hasFinalizer(object, "orphan")) {
      dependents(object, objects).forEach((k, o) -> disown(k, object));
      removeFinalizer(type, key, "orphan");
    }
    if (hasFinalizer(object, "foregroundDeletion")) {
      Map<ObjectKey, ObjectNode> left = dependents(object, objects);
      left.forEach((k, o) -> deleteDependent(k, o, object));
      boolean blocked =
          left.values().stream()
              .anyMatch(o -> ownerReference(o, object).path("blockOwnerDeletion").asBoolean(false));
      if (!blocked) {
        removeFinalizer(type, key, "foregroundDeletion");
      }
    }
    if (type.isCore("Namespace")) {
      emptyNamespace(type, key, objects);
    }
    if (hasFinalizer(object, CRD_CLEANUP)) {
      emptyCrd(type, key, object, objects);
    }
  }

  private static boolean ownersGone(JsonNode owners, Map<String, ObjectNode> byUid) {
    for (JsonNode owner : owners) {
      if (byUid.containsKey(owner.path("uid").asText())) {
        return false;
      }
    }
    return true;
  }

  private void deleteDependent(ObjectKey key, ObjectNode dependent, ObjectNode owner) {
    JsonNode owners = Json.at(dependent, "metadata", "ownerReferences");
    if (Json.at(dependent, "metadata").has("deletionTimestamp")) {
      return;
    }
    if (owners.size() > 1) {
      disown(key, owner); // Others own it too, so it stays.
      return;
    }
    catalog
        .ofStorageName(key.resource())
        .ifPresent(type -> delete(type, key, Deletion.Propagation.Foreground));
  }

  private void delete(ResourceType type, ObjectKey key, Deletion.Propagation propagation) {
    registry.delete(
        type, key.namespace(), key.name(), new Deletion(propagation, null, "", ""), false);
  }

  private static Map<ObjectKey, ObjectNode> dependents(
      ObjectNode owner, Map<ObjectKey, ObjectNode> objects) {
    Map<ObjectKey, ObjectNode> found = new HashMap<>();
    objects.forEach(
        (k, o) -> {
          if (!ownerReference(o, owner).isMissingNode()) {
            found.put(k, o);
          }
        });
    return found;
  }

  private static JsonNode ownerReference(ObjectNode object, ObjectNode owner) {
    String uid = Json.text(owner, "metadata", "uid");
    for (JsonNode reference : Json.at(object, "metadata", "ownerReferences")) {
      if (reference.path("uid").asText().equals(uid)) {
        return reference;
      }
    }
    return com.fasterxml.jackson.databind.node.MissingNode.getInstance();
  }

  private void disown(ObjectKey key, ObjectNode owner) {
    String uid = Json.text(owner, "metadata", "uid");
    catalog
        .ofStorageName(key.resource())
        .ifPresent(
            type ->
                registry.update(
                    type,
                    key.namespace(),
                    key.name(),
                    "",
                    o -> {
                      if (Json.metadata(o).get("ownerReferences") instanceof ArrayNode references) {
                        references.removeIf(r -> r.path("uid").asText().equals(uid));
                      }
                      return o;
                    },
                    WRITE));
  }

  private static boolean hasFinalizer(ObjectNode object, String finalizer) {
    for (JsonNode f : Json.at(object, "metadata", "finalizers")) {
      if (f.asText().equals(finalizer)) {
        return true;
      }
    }
    return false;
  }

  private void removeFinalizer(ResourceType type, ObjectKey key, String finalizer) {
    registry.update(
        type,
        key.namespace(),
        key.name(),
        "",
        o -> {
          if (Json.metadata(o).get("finalizers") instanceof ArrayNode finalizers) {
            finalizers.removeIf(f -> f.asText().equals(finalizer));
          }
          return o;
        },
        WRITE);
  }

  private void emptyNamespace(
      ResourceType type, ObjectKey namespace, Map<ObjectKey, ObjectNode> objects) {
    List<ObjectKey> content =
        objects.keySet().stream().filter(k -> k.namespace().equals(namespace.name())).toList();
    for (ObjectKey key : content) {
      if (!Json.at(objects.get(key), "metadata").has("deletionTimestamp")) {
        catalog
            .ofStorageName(key.resource())
            .ifPresent(t -> delete(t, key, Deletion.Propagation.Background));
      }
    }
    if (content.isEmpty()) {
      registry.update(
          type,
          "",
          namespace.name(),
          "finalize",
          o -> {
            Json.child(o, "spec").remove("finalizers");
            return o;
          },
          WRITE);
    }
  }

  private void emptyCrd(
      ResourceType type, ObjectKey crd, ObjectNode object, Map<ObjectKey, ObjectNode> objects) {
    String resource = Json.text(object, "metadata", "name");
    List<ObjectKey> content =
        objects.keySet().stream().filter(k -> k.resource().equals(resource)).toList();
    for (ObjectKey key : content) {
      if (!Json.at(objects.get(key), "metadata").has("deletionTimestamp")) {
        catalog
            .ofStorageName(resource)
            .ifPresent(t -> delete(t, key, Deletion.Propagation.Background));
      }
    }
    if (content.isEmpty()) {
      removeFinalizer(type, crd, CRD_CLEANUP);
    }
  }

  /** Stops; the store's closing ends the wait too. */
  @Override
  public void close() {
    thread.interrupt();
  }
}
