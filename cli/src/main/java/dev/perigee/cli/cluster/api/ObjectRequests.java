package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.List;
import java.util.function.Predicate;

/**
 * Requests for objects: which method on which path asks what of the registry, and what it answers.
 * Those that change nothing are {@link ObjectReads}.
 */
final class ObjectRequests {
  private final ObjectStore store;
  private final ResourceCatalog catalog;
  private final Registry registry;
  private final ObjectReads reads;

  ObjectRequests(ObjectStore store, ResourceCatalog catalog, Registry registry) {
    this.store = store;
    this.catalog = catalog;
    this.registry = registry;
    this.reads = new ObjectReads(store, registry);
  }

  /** Says where logs come from. */
  void setPodLogs(PodLogs logs) {
    reads.setPodLogs(logs);
  }

  /** Requests for objects: {@code [namespaces/NAMESPACE/]PLURAL[/NAME[/SUBRESOURCE]]}. */
  void serve(ApiRequest request, String apiVersion, List<String> path)
      throws IOException, InterruptedException {
    ObjectTarget target = ObjectTarget.of(catalog, apiVersion, path);
    String method = request.method();
    switch (target.subresource()) {
      case "log" -> {
        if (!method.equals("GET")) {
          throw ApiError.methodNotAllowed("the log of a pod can only be read");
        }
        reads.log(request, target);
        return;
      }
      case "exec", "attach", "portforward" ->
          throw ApiError.methodNotAllowed(
              "the embedded cluster does not support "
                  + target.subresource()
                  + "; its pods are processes of this machine, which other tools can reach");
      default -> {}
    }
    boolean one = !target.name().isEmpty();
    switch (method) {
      case "GET" -> {
        if (one) {
          reads.get(request, target);
        } else if (request.flag("watch")) {
          reads.watch(request, target);
        } else {
          reads.list(request, target);
        }
      }
      case "POST" -> create(request, target);
      case "PUT" -> replace(request, target);
      case "PATCH" -> patch(request, target);
      case "DELETE" -> {
        if (one) {
          delete(request, target);
        } else {
          deleteCollection(request, target);
        }
      }
      default -> throw ApiError.methodNotAllowed("the server does not allow " + method + " here");
    }
  }

  private void create(ApiRequest request, ObjectTarget target) throws IOException {
    ResourceType type = target.type();
    ObjectNode body = target.asStored(request.object());
    if (target.subresource().equals("binding")) {
      String node = Json.text(body, "target", "name");
      registry.update(
          type,
          target.namespace(),
          target.name(),
          "binding",
          pod -> {
            Json.child(pod, "spec").put("nodeName", node);
            return pod;
          },
          Write.of(request));
      request.send(201, success());
      return;
    }
    if (!target.name().isEmpty()) {
      throw ApiError.methodNotAllowed("POST to the collection to create an object");
    }
    String namespace = target.namespace();
    if (type.namespaced() && namespace.isEmpty()) {
      throw ApiError.badRequest("the request names no namespace");
    }
    Write write = Write.of(request);
    ObjectNode created = registry.create(target.stored(), namespace, body, write);
    warn(request, write);
    ObjectReads.respond(request, target, 201, created);
  }

  private void replace(ApiRequest request, ObjectTarget target) throws IOException {
    ObjectNode body = target.asStored(request.object());
    Write write = Write.of(request);
    ObjectNode updated =
        registry.update(
            target.stored(),
            target.namespace(),
            target.name(),
            target.subresource(),
            live -> body.deepCopy(),
            write);
    warn(request, write);
    ObjectReads.respond(request, target, 200, updated);
  }

  private void patch(ApiRequest request, ObjectTarget target) throws IOException {
    Write write = Write.of(request);
    JsonNode body = request.tree();
    JsonNode patch = body instanceof ObjectNode object ? target.asStored(object) : body;
    ResourceType storedType = target.stored();
    String contentType = request.contentType();
    ObjectNode result;
    if (contentType.startsWith("application/apply-patch")) {
      if (!(patch instanceof ObjectNode applied)) {
        throw ApiError.badRequest("what is applied must be an object");
      }
      if (request.param("fieldManager").isEmpty()) {
        throw ApiError.badRequest("fieldManager is required for apply patch");
      }
      boolean created =
          store.get(Registry.key(storedType, target.namespace(), target.name())) == null;
      result =
          registry.apply(
              storedType,
              target.namespace(),
              target.name(),
              target.subresource(),
              applied,
              request.flag("force"),
              write);
      warn(request, write);
      ObjectReads.respond(request, target, created ? 201 : 200, result);
      return;
    }
    result =
        registry.update(
            storedType,
            target.namespace(),
            target.name(),
            target.subresource(),
            live -> patched(storedType, contentType, live, patch),
            write);
    warn(request, write);
    ObjectReads.respond(request, target, 200, result);
  }

  private static ObjectNode patched(
      ResourceType type, String contentType, ObjectNode live, JsonNode patch) {
    JsonNode result =
        switch (contentType) {
          case "application/json-patch+json" -> Patches.json(live, patch);
          case "application/merge-patch+json" -> Patches.merge(live, patch);
          case "application/strategic-merge-patch+json" -> {
            if (type.custom() || !(patch instanceof ObjectNode object)) {
              throw unsupportedPatch(contentType);
            }
            yield Patches.strategic(type.schema(), live, object);
          }
          default -> throw unsupportedPatch(contentType);
        };
    if (result instanceof ObjectNode object) {
      return object;
    }
    throw ApiError.badRequest("the patch does not leave an object");
  }

  private static ApiError unsupportedPatch(String contentType) {
    return ApiError.unsupportedMediaType(
        "the body of the request was in an unknown format ("
            + contentType
            + ") - accepted media"
            + " types include: application/json-patch+json, application/merge-patch+json,"
            + " application/apply-patch+yaml");
  }

  private void delete(ApiRequest request, ObjectTarget target) throws IOException {
    ResourceType type = target.stored();
    ObjectNode options = request.objectIfAny();
    boolean dryRun = Write.of(request).dryRun() || !Json.at(options, "dryRun").isEmpty();
    ObjectNode last =
        registry.delete(
            type, target.namespace(), target.name(), Deletion.of(request, options), dryRun);
    if (registry.exists(type, last)) {
      ObjectReads.respond(request, target, 200, last);
    } else {
      ObjectNode status = success();
      status
          .putObject("details")
          .put("name", target.name())
          .put("group", type.group())
          .put("kind", type.plural())
          .put("uid", Json.text(last, "metadata", "uid"));
      request.send(200, status);
    }
  }

  private void deleteCollection(ApiRequest request, ObjectTarget target) throws IOException {
    ResourceType type = target.stored();
    ObjectNode options = request.objectIfAny();
    Predicate<JsonNode> selected = request.selected(type);
    for (ObjectNode object : store.list(type.storageName(), target.namespace()).objects()) {
      if (selected.test(target.asServed(object))) {
        try {
          registry.delete(
              type,
              Json.text(object, "metadata", "namespace"),
              Json.text(object, "metadata", "name"),
              Deletion.of(request, options),
              Write.of(request).dryRun());
        } catch (ApiError e) {
          if (e.code() != 404) {
            throw e;
          }
        }
      }
    }
    request.send(200, success());
  }

  private static void warn(ApiRequest request, Write write) {
    for (String warning : write.warnings()) {
      String quoted = warning.replace("\\", "\\\\").replace("\"", "\\\"");
      request.warn("299 - \"" + quoted + "\"");
    }
  }

  private static ObjectNode success() {
    ObjectNode status = Json.object().put("kind", "Status").put("apiVersion", "v1");
    status.putObject("metadata");
    return status.put("status", "Success");
  }
}
