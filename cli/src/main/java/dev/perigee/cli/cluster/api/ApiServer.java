package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
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
  private final ObjectRequests objects = new ObjectRequests(store, catalog, registry);
  private final GarbageCollector collector = new GarbageCollector(store, catalog, registry);
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
  private final HttpServer server;

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
    objects.setPodLogs(logs);
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
        request.send(e.code(), e.status());
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      } catch (RuntimeException e) {
        LOG.log(Level.WARNING, e, () -> request.method() + " " + exchange.getRequestURI());
        request.send(500, ApiError.internal(e.toString()).status());
      }
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> "the client of " + exchange.getRequestURI() + " is gone");
    }
  }

  private void route(ApiRequest request) throws IOException, InterruptedException {
    List<String> path = request.path();
    String first = path.isEmpty() ? "" : path.getFirst();
    switch (first) {
      case "healthz", "livez", "readyz" -> request.sendText("ok");
      case "version" -> request.send(200, Discovery.version());
      case "openapi" -> openApi(request);
      case "api" -> {
        if (path.size() == 1) {
          discover(request, true);
        } else if (path.size() == 2) {
          request.send(200, present(discovery.resources(path.get(1))));
        } else {
          objects.serve(request, path.get(1), path.subList(2, path.size()));
        }
      }
      case "apis" -> {
        if (path.size() == 1) {
          discover(request, false);
        } else if (path.size() == 2) {
          request.send(200, present(discovery.group(path.get(1))));
        } else {
          String apiVersion = path.get(1) + "/" + path.get(2);
          if (path.size() == 3) {
            request.send(200, present(discovery.resources(apiVersion)));
          } else if (path.size() == 4 && apiVersion.equals(AccessReviews.API_VERSION)) {
            AccessReviews.serve(request, path.get(3));
          } else {
            objects.serve(request, apiVersion, path.subList(3, path.size()));
          }
        }
      }
      default -> throw ApiError.noSuchPath();
    }
  }

  private void discover(ApiRequest request, boolean core) throws IOException {
    if (request.accepts("as=APIGroupDiscoveryList") && request.accepts("v=v2;")) {
      request.send(200, discovery.aggregated(core), Discovery.AGGREGATED);
    } else {
      request.send(200, core ? discovery.coreVersions() : discovery.groups());
    }
  }

  private void openApi(ApiRequest request) throws IOException {
    List<String> path = request.path();
    if (path.size() < 2 || !path.get(1).equals("v3")) {
      throw ApiError.noSuchPath(); // kubectl goes on without version 2, which is protobuf only
    }
    request.send(
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
}
