package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.function.Predicate;

/**
 * Requests for objects: which method on which path asks what of the registry, and what it answers.
 */
final class ObjectRequests {
  private final ObjectStore store;
  private final ResourceCatalog catalog;
  private final Registry registry;
  private final Watch watch;
  private volatile PodLogs podLogs =
      (pod, query, answer) -> {
        throw ApiError.badRequest("no node runs pods");
      };

  /** A request for an object or for the objects of a kind. */
  private record Target(ResourceType type, String namespace, String name, String subresource) {}

  ObjectRequests(ObjectStore store, ResourceCatalog catalog, Registry registry) {
    this.store = store;
    this.catalog = catalog;
    this.registry = registry;
    this.watch = new Watch(store);
  }

  /** Says where logs come from. */
  void setPodLogs(PodLogs logs) {
    podLogs = logs;
  }

  /** Requests for objects: {@code [namespaces/NAMESPACE/]PLURAL[/NAME[/SUBRESOURCE]]}. */
  void serve(ApiRequest request, String apiVersion, List<String> path)
      throws IOException, InterruptedException {
    Target target = target(apiVersion, path);
    String method = request.method();
    switch (target.subresource()) {
      case "log" -> {
        if (!method.equals("GET")) {
          throw ApiError.methodNotAllowed("the log of a pod can only be read");
        }
        log(request, target);
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
          ObjectNode found = registry.get(stored(target.type()), target.namespace(), target.name());
          respond(request, target.type(), 200, found);
        } else if (request.flag("watch")) {
          watch(request, target);
        } else {
          list(request, target);
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

  private Target target(String apiVersion, List<String> path) {
    List<String> rest = path;
    String namespace = "";
    if (rest.size() > 2
        && rest.getFirst().equals("namespaces")
        && catalog.find(apiVersion, rest.get(2)).isPresent()) {
      namespace = rest.get(1);
      rest = rest.subList(2, rest.size());
    }
    ResourceType type = catalog.find(apiVersion, rest.getFirst()).orElseThrow(ApiError::noSuchPath);
    if (rest.size() > 3) {
      throw ApiError.noSuchPath();
    }
    String name = rest.size() > 1 ? rest.get(1) : "";
    String subresource = rest.size() > 2 ? rest.get(2) : "";
    boolean interactive = List.of("exec", "attach", "portforward").contains(subresource);
    if (!subresource.isEmpty() && !type.subresources().contains(subresource) && !interactive) {
      throw ApiError.noSuchPath();
    }
    if (type.namespaced() && namespace.isEmpty() && !name.isEmpty()) {
      throw ApiError.noSuchPath();
    }
    return new Target(type, namespace, name, subresource);
  }

  /** The kind that objects of a kind are stored as: the two Event kinds share one store. */
  private ResourceType stored(ResourceType type) {
    return EventVersions.translated(type) ? catalog.core("events") : type;
  }

  private static ObjectNode asStored(ResourceType type, ObjectNode object) {
    return EventVersions.translated(type) ? EventVersions.toCore(object) : object;
  }

  private static ObjectNode asServed(ResourceType type, ObjectNode object) {
    return EventVersions.translated(type) ? EventVersions.fromCore(object) : type.stamped(object);
  }

  private void list(ApiRequest request, Target target) throws IOException {
    ResourceType type = target.type();
    Predicate<JsonNode> selected =
        Selectors.of(request.param("labelSelector"), request.param("fieldSelector"));
    ObjectStore.Snapshot snapshot = store.list(stored(type).storageName(), target.namespace());
    List<ObjectNode> items = new ArrayList<>();
    for (ObjectNode object : snapshot.objects()) {
      ObjectNode served = asServed(type, object);
      if (selected.test(served)) {
        items.add(served);
      }
    }
    ObjectNode metadata = Json.object().put("resourceVersion", Long.toString(snapshot.revision()));
    items = page(request, items, metadata);
    if (request.accepts("as=Table")) {
      request.send(200, TablePrinter.table(type, items, metadata, request.param("includeObject")));
      return;
    }
    ObjectNode list =
        Json.object().put("kind", type.kind() + "List").put("apiVersion", type.apiVersion());
    list.set("metadata", metadata);
    ArrayNode array = list.putArray("items");
    items.forEach(array::add);
    request.send(200, list);
  }

  /** The page after the one that ended at the continue token's object. */
  private static List<ObjectNode> page(
      ApiRequest request, List<ObjectNode> items, ObjectNode metadata) {
    List<ObjectNode> left = items;
    String token = request.param("continue");
    if (!token.isEmpty()) {
      String after = new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8);
      left = items.stream().filter(o -> place(o).compareTo(after) > 0).toList();
    }
    int limit = (int) Math.min(Integer.MAX_VALUE, request.number("limit", 0));
    if (limit <= 0 || left.size() <= limit) {
      return left;
    }
    List<ObjectNode> page = left.subList(0, limit);
    metadata.put(
        "continue",
        Base64.getUrlEncoder()
            .encodeToString(place(page.getLast()).getBytes(StandardCharsets.UTF_8)));
    metadata.put("remainingItemCount", left.size() - limit);
    return page;
  }

  private static String place(ObjectNode object) {
    return Json.text(object, "metadata", "namespace")
        + "\u0000"
        + Json.text(object, "metadata", "name");
  }

  private void watch(ApiRequest request, Target target) throws IOException, InterruptedException {
    ResourceType type = target.type();
    boolean table = request.accepts("as=Table");
    Predicate<JsonNode> selected =
        Selectors.of(request.param("labelSelector"), request.param("fieldSelector"));
    Watch.Options options =
        new Watch.Options(
            stored(type).storageName(),
            target.namespace(),
            request.param("resourceVersion"),
            request.flag("sendInitialEvents"),
            request.flag("allowWatchBookmarks"),
            request.number("timeoutSeconds", 3600),
            type);
    Watch.Form form =
        object -> {
          if (!table) {
            return object;
          }
          ObjectNode metadata =
              Json.object()
                  .put("resourceVersion", Json.text(object, "metadata", "resourceVersion"));
          return TablePrinter.table(
              type, List.of(object), metadata, request.param("includeObject"));
        };
    watch.run(
        options,
        selected,
        object -> asServed(type, object),
        form,
        () -> request.open("application/json"));
  }

  private void create(ApiRequest request, Target target) throws IOException {
    ResourceType type = target.type();
    ObjectNode body = asStored(type, request.object());
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
    ObjectNode created = registry.create(stored(type), namespace, body, write);
    warn(request, write);
    respond(request, type, 201, created);
  }

  private void replace(ApiRequest request, Target target) throws IOException {
    ResourceType type = target.type();
    ObjectNode body = asStored(type, request.object());
    Write write = Write.of(request);
    ObjectNode updated =
        registry.update(
            stored(type),
            target.namespace(),
            target.name(),
            target.subresource(),
            live -> body.deepCopy(),
            write);
    warn(request, write);
    respond(request, type, 200, updated);
  }

  private void patch(ApiRequest request, Target target) throws IOException {
    ResourceType type = target.type();
    Write write = Write.of(request);
    JsonNode body = request.tree();
    JsonNode patch = body instanceof ObjectNode object ? asStored(type, object) : body;
    ResourceType storedType = stored(type);
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
      respond(request, type, created ? 201 : 200, result);
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
    respond(request, type, 200, result);
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

  private void delete(ApiRequest request, Target target) throws IOException {
    ResourceType type = stored(target.type());
    ObjectNode options = request.objectIfAny();
    boolean dryRun = Write.of(request).dryRun() || !Json.at(options, "dryRun").isEmpty();
    ObjectNode last =
        registry.delete(
            type, target.namespace(), target.name(), Deletion.of(request, options), dryRun);
    if (registry.exists(type, last)) {
      respond(request, target.type(), 200, last);
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

  private void deleteCollection(ApiRequest request, Target target) throws IOException {
    ResourceType type = stored(target.type());
    ObjectNode options = request.objectIfAny();
    Predicate<JsonNode> selected =
        Selectors.of(request.param("labelSelector"), request.param("fieldSelector"));
    for (ObjectNode object : store.list(type.storageName(), target.namespace()).objects()) {
      if (selected.test(asServed(target.type(), object))) {
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

  private void log(ApiRequest request, Target target) throws IOException, InterruptedException {
    ObjectNode pod = registry.get(target.type(), target.namespace(), target.name());
    PodLogs.Query query =
        new PodLogs.Query(
            request.param("container"),
            request.flag("follow"),
            request.flag("previous"),
            request.flag("timestamps"),
            request.number("tailLines", -1),
            request.number("sinceSeconds", -1),
            request.number("limitBytes", -1));
    podLogs.write(pod, query, () -> request.open("text/plain"));
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

  private static void respond(ApiRequest request, ResourceType type, int code, ObjectNode object)
      throws IOException {
    ObjectNode served = asServed(type, object);
    if (request.accepts("as=Table")) {
      ObjectNode metadata =
          Json.object().put("resourceVersion", Json.text(object, "metadata", "resourceVersion"));
      served = TablePrinter.table(type, List.of(served), metadata, request.param("includeObject"));
    }
    request.send(code, served);
  }
}
