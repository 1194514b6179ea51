package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError.Cause;
import dev.perigee.cli.cluster.api.FieldOwnership.Owner;
import dev.perigee.cli.cluster.api.ObjectStore.ObjectKey;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.UnaryOperator;

/** Creates, updates, applies and deletes objects by the rules of the API. */
public final class Registry {
  private final ObjectStore store;
  private final ResourceCatalog catalog;

  /** A registry of what is in a store. */
  public Registry(ObjectStore store, ResourceCatalog catalog) {
    this.store = store;
    this.catalog = catalog;
  }

  /** Where an object of a kind is stored. */
  public static ObjectKey key(ResourceType type, String namespace, String name) {
    return new ObjectKey(type.storageName(), type.namespaced() ? namespace : "", name);
  }

  /**
   * An object.
   *
   * @throws ApiError 404 when there is none
   */
  public ObjectNode get(ResourceType type, String namespace, String name) {
    ObjectNode found = store.get(key(type, namespace, name));
    if (found == null) {
      throw ApiError.notFound(type, name);
    }
    return found;
  }

  /** Creates an object; its tree is taken over. */
  public ObjectNode create(ResourceType type, String namespace, ObjectNode object, Write write) {
    ObjectNode metadata = Json.metadata(object);
    ServerFields.checkIdentity(type, namespace, null, object);
    ServerFields.clear(object);
    if (Json.text(metadata, "name").isEmpty()) {
      if (Json.text(metadata, "generateName").isEmpty()) {
        throw ApiError.invalid(
            type, "", List.of(Cause.required("metadata.name", "name or generateName is required")));
      }
      metadata.put("name", Json.text(metadata, "generateName") + randomSuffix());
    }
    if (type.namespaced()) {
      metadata.put("namespace", namespace);
      requireNamespace(type, namespace, Json.text(metadata, "name"));
    }
    if (type.hasStatus()) {
      object.remove("status");
    }
    Admission.decode(type, object, true, write.validation(), write.warnings());
    Admission.validate(type, object, null);
    return insert(type, object, new Owner(write.manager(), "Update", ""), write);
  }

  private ObjectNode insert(ResourceType type, ObjectNode object, Owner owner, Write write) {
    ObjectNode metadata = Json.metadata(object);
    ServerFields.begin(type, object);
    if (owner.operation().equals("Update")) {
      FieldOwnership.recordUpdate(type, null, object, owner);
    }
    ObjectKey key = key(type, Json.text(metadata, "namespace"), Json.text(metadata, "name"));
    if (write.dryRun()) {
      if (store.get(key) != null) {
        throw ApiError.alreadyExists(type, key.name());
      }
      return object;
    }
    ObjectNode stored = store.replace(key, null, object);
    if (stored == null) {
      throw ApiError.alreadyExists(type, key.name());
    }
    defineIfCrd(type, stored);
    return stored;
  }

  /**
   * Changes an object: what the change returns replaces it, but for what the server alone decides.
   * Nothing is written when nothing changed.
   *
   * @param subresource {@code status} to change only that, empty for the rest
   * @param change from a copy of the object to what it should be
   * @throws ApiError 404, 409 when the change carries an old resourceVersion, 422, …
   */
  public ObjectNode update(
      ResourceType type,
      String namespace,
      String name,
      String subresource,
      UnaryOperator<ObjectNode> change,
      Write write) {
    ObjectKey key = key(type, namespace, name);
    Owner owner = new Owner(write.manager(), "Update", subresource);
    while (true) {
      ObjectNode live = store.get(key);
      if (live == null) {
        throw ApiError.notFound(type, name);
      }
      ObjectNode next = change.apply(live.deepCopy());
      String version = Json.text(next, "metadata", "resourceVersion");
      if (!version.isEmpty() && !version.equals(Json.text(live, "metadata", "resourceVersion"))) {
        throw ApiError.conflict(
            type,
            name,
            "the object has been modified; please apply your changes to the latest version and try"
                + " again");
      }
      precondition(
          type,
          name,
          "UID",
          Json.text(next, "metadata", "uid"),
          Json.text(live, "metadata", "uid"));
      ServerFields.checkIdentity(type, namespace, name, next);
      ObjectNode written = write(type, key, subresource, live, next, owner, write);
      if (written != null) {
        return written;
      }
    }
  }

  /** Server-side apply; creates the object when there is none. */
  public ObjectNode apply(
      ResourceType type,
      String namespace,
      String name,
      String subresource,
      ObjectNode applied,
      boolean force,
      Write write) {
    ObjectKey key = key(type, namespace, name);
    Owner owner = new Owner(write.manager(), "Apply", subresource);
    ServerFields.checkIdentity(type, namespace, name, applied);
    Json.metadata(applied).put("name", name);
    if (applied.path("metadata").path("managedFields").size() > 0) {
      throw ApiError.badRequest("metadata.managedFields must be nil");
    }
    List<String> unknown = SchemaValidator.prune(type.schema(), applied.deepCopy());
    if (!unknown.isEmpty()) {
      // As in Kubernetes, what is applied must fit the schema whatever fieldValidation says.
      throw ApiError.badRequest(
          "failed to create typed patch object ("
              + (namespace.isEmpty() ? "" : namespace + "/")
              + name
              + "; "
              + type.apiVersion()
              + ", Kind="
              + type.kind()
              + "): ."
              + unknown.getFirst()
              + ": field not declared in schema");
    }
    while (true) {
      ObjectNode live = store.get(key);
      if (live == null && !subresource.isEmpty()) {
        throw ApiError.notFound(type, name);
      }
      ObjectNode wanted = applied.deepCopy();
      if (type.hasStatus() && subresource.isEmpty()) {
        wanted.remove("status");
      } else if (!subresource.isEmpty()) {
        wanted.retain(List.of("apiVersion", "kind", "metadata", "status"));
        Json.metadata(wanted).retain(List.of("name", "namespace"));
      }
      ObjectNode next = FieldOwnership.apply(type, live, wanted, owner, force);
      if (live == null) {
        return createApplied(type, namespace, next, owner, write);
      }
      ObjectNode written = write(type, key, subresource, live, next, owner, write);
      if (written != null) {
        return written;
      }
    }
  }

  private ObjectNode createApplied(
      ResourceType type, String namespace, ObjectNode object, Owner owner, Write write) {
    if (type.namespaced()) {
      Json.metadata(object).put("namespace", namespace);
      requireNamespace(type, namespace, Json.text(object, "metadata", "name"));
    }
    Admission.decode(type, object, true, write.validation(), write.warnings());
    Admission.validate(type, object, null);
    return insert(type, object, owner, write);
  }

  /** Stores the next state over the live one; null when another write came between. */
  private ObjectNode write(
      ResourceType type,
      ObjectKey key,
      String subresource,
      ObjectNode live,
      ObjectNode next,
      Owner owner,
      Write write) {
    ObjectNode object = subresource.equals("status") ? ServerFields.withStatusOf(live, next) : next;
    if (subresource.isEmpty() && type.hasStatus()) {
      object = next.deepCopy();
      if (live.has("status")) {
        object.set("status", live.get("status"));
      } else {
        object.remove("status");
      }
    }
    ServerFields.keep(live, object);
    Admission.decode(type, object, false, write.validation(), write.warnings());
    Admission.validate(type, object, live);
    if (ServerFields.generational(type) && !ServerFields.sameButMetadataAndStatus(live, object)) {
      Json.metadata(object)
          .put("generation", Json.at(live, "metadata", "generation").asLong(0) + 1);
    }
    if (owner.operation().equals("Update")) {
      FieldOwnership.recordUpdate(type, live, object, owner);
    }
    if (object.equals(live) || write.dryRun()) {
      return object.equals(live) ? live : object;
    }
    boolean finished =
        Json.at(object, "metadata").has("deletionTimestamp") && !Deletion.held(type, object);
    ObjectNode stored = store.replace(key, live, finished ? null : object);
    if (stored != null) {
      if (finished) {
        undefineIfCrd(type, stored);
      } else {
        defineIfCrd(type, stored);
      }
    }
    return stored;
  }

  /**
   * Deletes an object, or marks it as being deleted when a finalizer, a running pod's grace period
   * or a namespace's content holds it.
   *
   * @return the object in its last or in its marked state
   */
  public ObjectNode delete(
      ResourceType type, String namespace, String name, Deletion deletion, boolean dryRun) {
    ObjectKey key = key(type, namespace, name);
    while (true) {
      ObjectNode live = store.get(key);
      if (live == null) {
        throw ApiError.notFound(type, name);
      }
      precondition(type, name, "UID", deletion.uid(), Json.text(live, "metadata", "uid"));
      precondition(
          type,
          name,
          "ResourceVersion",
          deletion.resourceVersion(),
          Json.text(live, "metadata", "resourceVersion"));
      ObjectNode marked = deletion.mark(type, live);
      if (dryRun || marked.equals(live)) {
        return marked;
      }
      boolean held = Deletion.held(type, marked);
      ObjectNode stored = store.replace(key, live, held ? marked : null);
      if (stored != null) {
        if (!held) {
          undefineIfCrd(type, stored);
        }
        return stored;
      }
    }
  }

  /** Whether an object with that deletion state is still in the store. */
  public boolean exists(ResourceType type, ObjectNode object) {
    ObjectNode there =
        store.get(
            key(
                type,
                Json.text(object, "metadata", "namespace"),
                Json.text(object, "metadata", "name")));
    return there != null
        && Json.text(there, "metadata", "uid").equals(Json.text(object, "metadata", "uid"));
  }

  private static void precondition(
      ResourceType type, String name, String what, String wanted, String found) {
    if (!wanted.isEmpty() && !wanted.equals(found)) {
      throw ApiError.conflict(
          type,
          name,
          "Precondition failed: "
              + what
              + " in precondition: "
              + wanted
              + ", "
              + what
              + " in object meta: "
              + found);
    }
  }

  private void requireNamespace(ResourceType type, String namespace, String name) {
    ResourceType namespaces = catalog.core("namespaces");
    ObjectNode found = store.get(key(namespaces, "", namespace));
    if (found == null) {
      throw ApiError.notFound(namespaces, namespace);
    }
    if (Json.at(found, "metadata").has("deletionTimestamp")) {
      throw ApiError.forbidden(
          type,
          name,
          "unable to create new content in namespace "
              + namespace
              + " because it is being terminated");
    }
  }

  private void defineIfCrd(ResourceType type, ObjectNode stored) {
    if (type.kind().equals("CustomResourceDefinition")) {
      catalog.define(stored);
    }
  }

  private void undefineIfCrd(ResourceType type, ObjectNode stored) {
    if (type.kind().equals("CustomResourceDefinition")) {
      catalog.undefine(stored);
    }
  }

  private static String randomSuffix() {
    String alphabet = "bcdfghjklmnpqrstvwxz2456789";
    StringBuilder suffix = new StringBuilder();
    for (int i = 0; i < 5; i++) {
      suffix.append(alphabet.charAt(ThreadLocalRandom.current().nextInt(alphabet.length())));
    }
    return suffix.toString();
  }
}
