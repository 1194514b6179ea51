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

/** Requests for objects that change nothing: get, list, watch, and a pod's log. */
final class ObjectReads {
  private final ObjectStore store;
  private final Registry registry;
  private final Watch watch;
  private volatile PodLogs podLogs =
      (pod, query, answer) -> {
        throw ApiError.badRequest("no node runs pods");
      };

  ObjectReads(ObjectStore store, Registry registry) {
    this.store = store;
    this.registry = registry;
    this.watch = new Watch(store);
  }

  /** Says where logs come from. */
  void setPodLogs(PodLogs logs) {
    podLogs = logs;
  }

  /** Answers with one object. */
  void get(ApiRequest request, ObjectTarget target) throws IOException {
    respond(request, target, 200, registry.get(target.stored(), target.namespace(), target.name()));
  }

  /** Answers with the objects of a kind, or a page of them. */
  void list(ApiRequest request, ObjectTarget target) throws IOException {
    ResourceType type = target.type();
    Predicate<JsonNode> selected = request.selected(type);
    ObjectStore.Snapshot snapshot = store.list(target.stored().storageName(), target.namespace());
    List<ObjectNode> items = new ArrayList<>();
    for (ObjectNode object : snapshot.objects()) {
      ObjectNode served = target.asServed(object);
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

  /** Answers with what happens to the objects of a kind, until the time is over. */
  void watch(ApiRequest request, ObjectTarget target) throws IOException, InterruptedException {
    ResourceType type = target.type();
    boolean table = request.accepts("as=Table");
    Predicate<JsonNode> selected = request.selected(type);
    Watch.Options options =
        new Watch.Options(
            target.stored().storageName(),
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
    watch.run(options, selected, target::asServed, form, () -> request.open("application/json"));
  }

  /** Answers with what a pod has printed. */
  void log(ApiRequest request, ObjectTarget target) throws IOException, InterruptedException {
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

  /** Answers with an object, as itself or as a row of a table. */
  static void respond(ApiRequest request, ObjectTarget target, int code, ObjectNode object)
      throws IOException {
    ObjectNode served = target.asServed(object);
    if (request.accepts("as=Table")) {
      ObjectNode metadata =
          Json.object().put("resourceVersion", Json.text(object, "metadata", "resourceVersion"));
      served =
          TablePrinter.table(
              target.type(), List.of(served), metadata, request.param("includeObject"));
    }
    request.send(code, served);
  }
}
