package dev.perigee.operator;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Supplier;

/**
 * What the kubelet and Prometheus ask the operator: {@code /healthz} (the process answers), {@code
 * /readyz} (it watches the cluster, leading or not) and {@code /metrics}.
 */
final class OperatorEndpoint implements AutoCloseable {
  private final HttpServer server;
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();

  private OperatorEndpoint(HttpServer server) {
    this.server = server;
  }

  /**
   * Listens on all addresses.
   *
   * @param port the port; 0 for any free one
   * @param notReady why the operator is not ready, empty when it is
   * @param metrics the text of {@code /metrics}
   * @throws IOException when the port is taken
   */
  static OperatorEndpoint start(
      int port, Supplier<Optional<String>> notReady, Supplier<String> metrics) throws IOException {
    HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
    OperatorEndpoint endpoint = new OperatorEndpoint(server);
    server.createContext("/", exchange -> answer(exchange, 404, "not found\n", "text/plain"));
    server.createContext("/healthz", exchange -> answer(exchange, 200, "ok\n", "text/plain"));
    server.createContext(
        "/readyz",
        exchange -> {
          Optional<String> why = notReady.get();
          answer(exchange, why.isEmpty() ? 200 : 503, why.orElse("ok") + "\n", "text/plain");
        });
    server.createContext(
        "/metrics",
        exchange ->
            answer(exchange, 200, metrics.get(), "text/plain; version=0.0.4; charset=utf-8"));
    server.setExecutor(endpoint.threads);
    server.start();
    return endpoint;
  }

  int port() {
    return server.getAddress().getPort();
  }

  @Override
  public void close() {
    server.stop(0);
    threads.close();
  }

  private static void answer(HttpExchange exchange, int code, String text, String type)
      throws IOException {
    try (exchange) {
      byte[] body = text.getBytes(StandardCharsets.UTF_8);
      exchange.getResponseHeaders().set("Content-Type", type);
      exchange.sendResponseHeaders(code, body.length);
      exchange.getResponseBody().write(body);
    }
  }
}
