package dev.perigee.operator.real;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.perigee.operator.ApiClient;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.internal.SSLUtils;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;

/** Stands before an API server, notes what is asked, and breaks what a test wants broken. */
final class FaultProxy implements AutoCloseable {
  /** What becomes of a request. */
  sealed interface Fate {
    /** It is passed on. */
    record Pass() implements Fate {}

    /** It gets this answer, to be tried again after a second, and is not passed on. */
    record Refuse(int code) implements Fate {}

    /** The connection breaks before it is passed on. */
    record Drop() implements Fate {}

    /** It is passed on, and the connection breaks before the answer. */
    record Lose() implements Fate {}

    /** It is passed on, and the connection breaks in the middle of the answer. */
    record Cut() implements Fate {}

    /**
     * It is taken and never answered; the connection stays.
     *
     * @param arrives whether it is passed on
     */
    record Hang(boolean arrives) implements Fate {}
  }

  /**
   * One request.
   *
   * @param write counts what is not a read, from 1; 0 for a read
   */
  record Request(String method, String path, int write) {
    boolean isWrite() {
      return write > 0;
    }

    boolean isWatch() {
      return path.contains("watch=true");
    }
  }

  /** Decides over requests. */
  @FunctionalInterface
  interface Faults {
    Fate of(Request request);
  }

  /** Much less than in an installation; a watch that is only quiet is then opened anew, too. */
  private static final Duration SILENCE = Duration.ofSeconds(3);

  private final URI target;
  private final HttpClient http;
  private final HttpServer server;
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
  private final Faults faults;
  private final List<Request> seen = new CopyOnWriteArrayList<>();
  private final AtomicInteger writes = new AtomicInteger();
  private final Set<InputStream> watches = ConcurrentHashMap.newKeySet();
  private final CountDownLatch closed = new CountDownLatch(1);
  private volatile boolean dead;

  FaultProxy(Config config, Faults faults) {
    this.faults = faults;
    target = URI.create(config.getMasterUrl());
    try {
      SSLContext tls =
          SSLUtils.sslContext(SSLUtils.keyManagers(config), SSLUtils.trustManagers(config));
      http = HttpClient.newBuilder().sslContext(tls).version(HttpClient.Version.HTTP_1_1).build();
      server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    } catch (IOException | GeneralSecurityException e) {
      throw new IllegalStateException(e);
    }
    server.setExecutor(threads);
    server.createContext("/", this::handle);
    server.start();
  }

  /** The operator's client, through this; it neither waits long nor tries again by itself. */
  KubernetesClient client() {
    return client(Duration.ofSeconds(5), 0);
  }

  /**
   * A client that goes through this.
   *
   * @param patience how long it waits for an answer
   * @param retries how often it tries again by itself
   */
  KubernetesClient client(Duration patience, int retries) {
    Config config =
        new ConfigBuilder(Config.empty())
            .withMasterUrl("http://127.0.0.1:" + server.getAddress().getPort())
            .withOnlyHttpWatches(true)
            .withRequestRetryBackoffLimit(retries)
            .withRequestTimeout((int) patience.toMillis())
            .withWatchReconnectInterval(50)
            .build();
    return ApiClient.connect(config, SILENCE);
  }

  /** What was asked so far. */
  List<Request> seen() {
    return List.copyOf(seen);
  }

  /** Breaks every watch once; clients come back. */
  void cutWatches() {
    for (InputStream watch : watches) {
      try {
        watch.close();
      } catch (IOException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  /** From now on nothing gets through, as if the program behind it were dead. */
  void die() {
    dead = true;
    cutWatches();
  }

  @Override
  public void close() {
    die();
    closed.countDown();
    server.stop(0);
    threads.shutdownNow();
    http.shutdownNow();
  }

  private void handle(HttpExchange exchange) throws IOException {
    try (exchange) {
      if (dead) {
        return;
      }
      Request request = note(exchange);
      byte[] body = exchange.getRequestBody().readAllBytes();
      switch (faults.of(request)) {
        case Fate.Pass() -> {
          if (!dead) {
            pass(exchange, request, body);
          }
        }
        case Fate.Refuse(var code) -> refuse(exchange, code);
        case Fate.Drop() -> {}
        case Fate.Lose() -> forward(exchange, body).body().close();
        case Fate.Cut() -> cut(exchange, forward(exchange, body));
        case Fate.Hang(var arrives) -> {
          if (arrives) {
            forward(exchange, body).body().close();
          }
          closed.await();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private Request note(HttpExchange exchange) {
    String method = exchange.getRequestMethod();
    int write = method.equals("GET") ? 0 : writes.incrementAndGet();
    Request request = new Request(method, exchange.getRequestURI().toString(), write);
    seen.add(request);
    return request;
  }

  private HttpResponse<InputStream> forward(HttpExchange exchange, byte[] body)
      throws IOException, InterruptedException {
    HttpRequest.Builder request =
        HttpRequest.newBuilder(target.resolve(exchange.getRequestURI()))
            .method(
                exchange.getRequestMethod(),
                body.length == 0
                    ? HttpRequest.BodyPublishers.noBody()
                    : HttpRequest.BodyPublishers.ofByteArray(body));
    for (String name : List.of("Content-Type", "Accept", "Authorization")) {
      String value = exchange.getRequestHeaders().getFirst(name);
      if (value != null) {
        request.header(name, value);
      }
    }
    return http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
  }

  private void pass(HttpExchange exchange, Request request, byte[] body)
      throws IOException, InterruptedException {
    HttpResponse<InputStream> answer = forward(exchange, body);
    answer
        .headers()
        .firstValue("Content-Type")
        .ifPresent(type -> exchange.getResponseHeaders().set("Content-Type", type));
    try (InputStream in = answer.body()) {
      if (!request.isWatch() || answer.statusCode() != 200) {
        byte[] all = in.readAllBytes();
        if (!dead) {
          exchange.sendResponseHeaders(answer.statusCode(), all.length == 0 ? -1 : all.length);
          exchange.getResponseBody().write(all);
        }
        return;
      }
      watches.add(in);
      try {
        exchange.sendResponseHeaders(200, 0);
        stream(in, exchange.getResponseBody());
      } finally {
        watches.remove(in);
      }
    }
  }

  private static void cut(HttpExchange exchange, HttpResponse<InputStream> answer)
      throws IOException {
    try (InputStream in = answer.body()) {
      byte[] all = in.readAllBytes();
      exchange.getResponseHeaders().set("Content-Type", "application/json");
      exchange.sendResponseHeaders(answer.statusCode(), all.length == 0 ? -1 : all.length);
      exchange.getResponseBody().write(all, 0, all.length / 2);
      exchange.getResponseBody().flush();
    }
  }

  private static void stream(InputStream in, OutputStream out) throws IOException {
    byte[] buffer = new byte[1 << 16];
    for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
      out.write(buffer, 0, n);
      out.flush();
    }
  }

  private static void refuse(HttpExchange exchange, int code) throws IOException {
    String status =
        """
        {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Injected",\
         "message": "injected by the test", "code": %d}
        """
            .formatted(code);
    byte[] body = status.getBytes(StandardCharsets.UTF_8);
    exchange.getResponseHeaders().set("Content-Type", "application/json");
    exchange.getResponseHeaders().set("Retry-After", "1");
    exchange.sendResponseHeaders(code, body.length);
    exchange.getResponseBody().write(body);
  }
}
