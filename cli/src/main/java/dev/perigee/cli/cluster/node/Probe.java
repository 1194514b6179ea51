package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.cli.cluster.api.Json;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Optional;

/**
 * A probe of a container, by HTTP or by opening a TCP connection.
 *
 * @param http whether by HTTP
 * @param path of the HTTP request
 * @param initialDelay before the first
 * @param period between two
 * @param timeout of one
 * @param failures in a row that count
 * @param successes in a row that count
 */
record Probe(
    boolean http,
    String path,
    int port,
    Duration initialDelay,
    Duration period,
    Duration timeout,
    int failures,
    int successes) {

  private static final HttpClient CLIENT =
      HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();

  /**
   * The probe of that name of a container.
   *
   * @throws IOException when it is of a kind that the node does not have
   */
  static Optional<Probe> of(JsonNode container, String name) throws IOException {
    JsonNode probe = container.path(name);
    if (!probe.isObject()) {
      return Optional.empty();
    }
    boolean http = probe.has("httpGet");
    if (!http && !probe.has("tcpSocket")) {
      throw new IOException(name + ": the embedded node has httpGet and tcpSocket probes only");
    }
    JsonNode action = http ? probe.path("httpGet") : probe.path("tcpSocket");
    return Optional.of(
        new Probe(
            http,
            action.path("path").asText("/"),
            port(container, action.path("port"), name),
            Duration.ofSeconds(probe.path("initialDelaySeconds").asInt(0)),
            Duration.ofSeconds(Math.max(1, probe.path("periodSeconds").asInt(10))),
            Duration.ofSeconds(Math.max(1, probe.path("timeoutSeconds").asInt(1))),
            probe.path("failureThreshold").asInt(3),
            probe.path("successThreshold").asInt(1)));
  }

  private static int port(JsonNode container, JsonNode port, String name) throws IOException {
    if (port.isInt()) {
      return port.asInt();
    }
    for (JsonNode declared : container.path("ports")) {
      if (Json.text(declared, "name").equals(port.asText())) {
        return declared.path("containerPort").asInt();
      }
    }
    throw new IOException(name + ": the container has no port named " + port.asText());
  }

  /** Whether a container answers now as it should. */
  boolean succeeds(String address) throws InterruptedException {
    try {
      if (!http) {
        try (Socket socket = new Socket()) {
          socket.connect(new InetSocketAddress(address, port), (int) timeout.toMillis());
          return true;
        }
      }
      URI uri = URI.create("http://" + address + ":" + port + path);
      HttpRequest request = HttpRequest.newBuilder(uri).timeout(timeout).build();
      int code = CLIENT.send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
      return code >= 200 && code < 400;
    } catch (IOException e) {
      return false;
    }
  }
}
