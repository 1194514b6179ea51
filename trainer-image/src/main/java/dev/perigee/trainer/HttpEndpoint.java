package dev.perigee.trainer;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.perigee.run.ExitCode;
import dev.perigee.run.RunStatus.Phase;
import io.prometheus.client.exporter.common.TextFormat;
import java.io.IOException;
import java.io.StringWriter;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.EnumSet;
import java.util.Set;
import java.util.concurrent.Executors;

/**
 * What the program answers: {@code GET /status}, {@code /metrics}, {@code /healthz}, {@code
 * /readyz}, {@code POST /checkpoint} and {@code /stop}.
 */
final class HttpEndpoint implements AutoCloseable {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Set<Phase> READY =
      EnumSet.of(Phase.Training, Phase.Evaluating, Phase.Saving, Phase.Done);

  private final HttpServer server;

  private HttpEndpoint(HttpServer server) {
    this.server = server;
  }

  private record Answer(int code, String contentType, String body) {
    static Answer text(int code, String line) {
      return new Answer(code, "text/plain; charset=utf-8", line + "\n");
    }
  }

  private interface Route {
    Answer answer() throws IOException;
  }

  /**
   * Listens.
   *
   * @throws TrainerException when the port is in use
   */
  static HttpEndpoint start(
      InetAddress address, int port, Progress progress, Metrics metrics, Requests requests)
      throws TrainerException, IOException {
    HttpServer server;
    try {
      server = HttpServer.create(new InetSocketAddress(address, port), 0);
    } catch (BindException e) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "network.httpPort: cannot listen on "
              + address.getHostAddress()
              + " port "
              + port
              + ": "
              + e.getMessage()
              + "; end the program that has it, or use another port",
          e);
    }
    server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
    route(
        server,
        "GET",
        "/status",
        () -> new Answer(200, "application/json", JSON.writeValueAsString(progress.status())));
    route(
        server,
        "GET",
        "/metrics",
        () -> {
          StringWriter text = new StringWriter();
          metrics.write(text);
          return new Answer(200, TextFormat.CONTENT_TYPE_004, text.toString());
        });
    route(
        server,
        "GET",
        "/healthz",
        () ->
            progress.phase() == Phase.Failed ? Answer.text(500, "failed") : Answer.text(200, "ok"));
    route(
        server,
        "GET",
        "/readyz",
        () ->
            READY.contains(progress.phase())
                ? Answer.text(200, "ok")
                : Answer.text(503, "not ready: " + progress.phase()));
    route(
        server,
        "POST",
        "/checkpoint",
        () -> {
          requests.checkpoint();
          return Answer.text(202, "a checkpoint follows after this step");
        });
    route(
        server,
        "POST",
        "/stop",
        () -> {
          requests.stop();
          return Answer.text(202, "the job ends after this step and a checkpoint");
        });
    server.start();
    return new HttpEndpoint(server);
  }

  private static void route(HttpServer server, String method, String path, Route route) {
    server.createContext(
        path,
        exchange -> {
          try (exchange) {
            if (!exchange.getRequestURI().getPath().equals(path)) {
              send(exchange, Answer.text(404, "no such path"));
            } else if (!exchange.getRequestMethod().equals(method)) {
              exchange.getResponseHeaders().set("Allow", method);
              send(exchange, Answer.text(405, "use " + method));
            } else {
              send(exchange, route.answer());
            }
          }
        });
  }

  private static void send(HttpExchange exchange, Answer answer) throws IOException {
    byte[] body = answer.body.getBytes(StandardCharsets.UTF_8);
    exchange.getResponseHeaders().set("Content-Type", answer.contentType);
    exchange.sendResponseHeaders(answer.code, body.length);
    exchange.getResponseBody().write(body);
  }

  @Override
  public void close() {
    server.stop(0);
  }
}
