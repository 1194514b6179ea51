package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.perigee.cli.cluster.api.Admission.FieldValidation;
import dev.perigee.cli.cluster.api.Registry.Deletion;
import dev.perigee.cli.cluster.api.Registry.Propagation;
import dev.perigee.cli.cluster.api.Registry.Write;
import java.io.IOException;
import java.io.OutputStream;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Predicate;
import java.util.logging.Level;
import java.util.logging.Logger;

/** The HTTP face of the API: which path does what. One virtual thread serves one request. */
public final class ApiServer implements AutoCloseable {
  private static final Logger LOG = Logger.getLogger(ApiServer.class.getName());

  private final ObjectStore store = new ObjectStore();
  private final ResourceCatalog catalog = new ResourceCatalog();
  private final Registry registry = new Registry(store, catalog);
  private final Discovery discovery = new Discovery(catalog);
  private final OpenApi openApi = new OpenApi(catalog);
  private final Watch watch = new Watch(store);
  private final GarbageCollector collector = new GarbageCollector(store, catalog, registry);
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
  private final HttpServer server;
  private volatile PodLogs podLogs =
      (pod, query, answer) -> {
        throw ApiError.badRequest("no node runs pods");
      };

  /** A request for an object or for the objects of a kind. */
  private record Target(ResourceType type, String namespace, String name, String subresource) {}

  /**
   * Starts to serve on a loopback address.
   *
   * @param port 0 for any free one
   * @throws IOException when the port is taken; the message says what to do
   */
  public ApiServer(int port) throws IOException {
    InetAddress loopback = InetAddress.getByAddress(new byte[] {127, 0, 0, 1});
    InetSocketAddress address = new InetSocketAddress(loopback, port);
    try {
      server = HttpServer.create(address, 0);
    } catch (BindException e) {
      close(collector);
      throw new IOException(
          "port "
              + port
              + " of 127.0.0.1 is in use; end what listens there, or choose another with"
              + " --port (0 takes any free one)",
          e);
    }
    for (String namespace : List.of("default", "kube-system")) {
      ObjectNode object = Json.object();
      Json.metadata(object).put("name", namespace);
      registry.create(catalog.core("namespaces"), "", object, Write.by("perigee"));
    }
    server.setExecutor(threads);
    server.createContext("/", this::handle);
    server.start();
  }

  private static void close(GarbageCollector collector) {
    collector.close();
  }

  /** Where it listens. */
  public String url() {
    return "http://127.0.0.1:" + server.getAddress().getPort();
  }

  /** The objects. */
  public ObjectStore store() {
    return store;
  }

  /** The kinds. */
  public ResourceCatalog catalog() {
    return catalog;
  }

  /** Writes objects, for the parts of the cluster in this process. */
  public Registry registry() {
    return registry;
  }

  /** Says where logs come from. */
  public void setPodLogs(PodLogs logs) {
    podLogs = logs;
  }

  @Override
  public void close() {
    store.close();
    collector.close();
    server.stop(0);
    threads.shutdownNow();
  }

  private void handle(HttpExchange exchange) throws IOException {
    ApiRequest request = new ApiRequest(exchange);
    try (exchange) {
      try {
        route(request);
      } catch (ApiError e) {
        send(exchange, e.code(), e.status());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      } catch (RuntimeException e) {
        LOG.log(Level.WARNING, e, () -> request.method() + " " + exchange.getRequestURI());
        send(exchange, 500, ApiError.internal(e.toString()).status());
      }
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> "the client of " + exchange.getRequestURI() + " is gone");
    }
  }

  private void route(ApiRequest request) throws IOException, InterruptedException {
    List<String> path = request.path();
    String first = path.isEmpty() ? "" : path.getFirst();
    HttpExchange exchange = request.exchange();
    switch (first) {
      case "healthz", "livez", "readyz" -> sendText(exchange, "ok");
      case "version" -> send(exchange, 200, Discovery.version());
      case "openapi" -> openApi(request);
      case "api" -> {
        if (path.size() == 1) {
          discover(request, true);
        } else if (path.size() == 2) {
          send(exchange, 200, present(discovery.resources(path.get(1))));
        } else {
          serve(request, path.get(1), path.subList(2, path.size()));
        }
      }
      case "apis" -> {
        if (path.size() == 1) {
          discover(request, false);
        } else if (path.size() == 2) {
          send(exchange, 200, present(discovery.group(path.get(1))));
        } else {
          String apiVersion = path.get(1) + "/" + path.get(2);
          if (path.size() == 3) {
            send(exchange, 200, present(discovery.resources(apiVersion)));
          } else {
            serve(request, apiVersion, path.subList(3, path.size()));
          }
        }
      }
      default -> throw ApiError.noSuchPath();
    }
  }

  private void discover(ApiRequest request, boolean core) throws IOException {
    if (request.accepts("as=APIGroupDiscoveryList") && request.accepts("v=v2;")) {
      send(request.exchange(), 200, discovery.aggregated(core), Discovery.AGGREGATED);
    } else {
      send(request.exchange(), 200, core ? discovery.coreVersions() : discovery.groups());
    }
  }

  private void openApi(ApiRequest request) throws IOException {
    List<String> path = request.path();
    if (path.size() < 2 || !path.get(1).equals("v3")) {
      throw ApiError.noSuchPath(); // kubectl goes on without version 2, which is protobuf only
    }
    send(
        request.exchange(),
        200,
        path.size() == 2
            ? openApi.index()
            : present(openApi.document(String.join("/", path.subList(2, path.size())))));
  }

  private static ObjectNode present(ObjectNode document) {
    if (document == null) {
      throw ApiError.noSuchPath();
    }
    return document;
  }

  /** Requests for objects: {@code [namespaces/NAMESPACE/]PLURAL[/NAME[/SUBRESOURCE]]}. */
  private void serve(ApiRequest request, String apiVersion, List<String> path)
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
      send(
          request.exchange(),
          200,
          TablePrinter.table(type, items, metadata, request.param("includeObject")));
      return;
    }
    ObjectNode list =
        Json.object().put("kind", type.kind() + "List").put("apiVersion", type.apiVersion());
    list.set("metadata", metadata);
    ArrayNode array = list.putArray("items");
    items.forEach(array::add);
    send(request.exchange(), 200, list);
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
    HttpExchange exchange = request.exchange();
    watch.run(
        options,
        selected,
        object -> asServed(type, object),
        form,
        () -> open(exchange, "application/json"));
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
          write(request));
      send(request.exchange(), 201, success());
      return;
    }
    if (!target.name().isEmpty()) {
      throw ApiError.methodNotAllowed("POST to the collection to create an object");
    }
    String namespace = target.namespace();
    if (type.namespaced() && namespace.isEmpty()) {
      throw ApiError.badRequest("the request names no namespace");
    }
    Write write = write(request);
    ObjectNode created = registry.create(stored(type), namespace, body, write);
    warn(request, write);
    respond(request, type, 201, created);
  }

  private void replace(ApiRequest request, Target target) throws IOException {
    ResourceType type = target.type();
    ObjectNode body = asStored(type, request.object());
    Write write = write(request);
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
    Write write = write(request);
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
    boolean dryRun = write(request).dryRun() || !Json.at(options, "dryRun").isEmpty();
    ObjectNode last =
        registry.delete(
            type, target.namespace(), target.name(), deletion(request, options), dryRun);
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
      send(request.exchange(), 200, status);
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
              deletion(request, options),
              write(request).dryRun());
        } catch (ApiError e) {
          if (e.code() != 404) {
            throw e;
          }
        }
      }
    }
    send(request.exchange(), 200, success());
  }

  private static Deletion deletion(ApiRequest request, ObjectNode options) {
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
    podLogs.write(pod, query, () -> open(request.exchange(), "text/plain"));
  }

  private static Write write(ApiRequest request) {
    String manager = request.param("fieldManager");
    String dryRun = request.param("dryRun");
    if (!dryRun.isEmpty() && !dryRun.equals("All")) {
      throw ApiError.badRequest("dryRun: " + dryRun + "; expected All");
    }
    FieldValidation validation =
        switch (request.param("fieldValidation")) {
          case "Strict" -> FieldValidation.Strict;
          case "Ignore" -> FieldValidation.Ignore;
          case "Warn", "" -> FieldValidation.Warn;
          default ->
              throw ApiError.badRequest(
                  "fieldValidation: "
                      + request.param("fieldValidation")
                      + "; expected Ignore, Warn or Strict");
        };
    return new Write(
        manager.isEmpty() ? request.userAgent() : manager,
        dryRun.equals("All"),
        validation,
        new ArrayList<>());
  }

  private static void warn(ApiRequest request, Write write) {
    for (String warning : write.warnings()) {
      String quoted = warning.replace("\\", "\\\\").replace("\"", "\\\"");
      request.exchange().getResponseHeaders().add("Warning", "299 - \"" + quoted + "\"");
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
    send(request.exchange(), code, served);
  }

  private static void send(HttpExchange exchange, int code, JsonNode body) throws IOException {
    send(exchange, code, body, "application/json");
  }

  private static void send(HttpExchange exchange, int code, JsonNode body, String contentType)
      throws IOException {
    byte[] bytes = Json.bytes(body);
    exchange.getResponseHeaders().set("Content-Type", contentType);
    exchange.sendResponseHeaders(code, bytes.length);
    exchange.getResponseBody().write(bytes);
  }

  private static void sendText(HttpExchange exchange, String text) throws IOException {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
    exchange.sendResponseHeaders(200, bytes.length);
    exchange.getResponseBody().write(bytes);
  }

  private static OutputStream open(HttpExchange exchange, String contentType) throws IOException {
    exchange.getResponseHeaders().set("Content-Type", contentType);
    exchange.sendResponseHeaders(200, 0); // 0 means chunks until the stream is closed
    OutputStream body = exchange.getResponseBody();
    body.flush();
    return body;
  }
}
