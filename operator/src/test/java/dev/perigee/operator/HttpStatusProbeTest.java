package dev.perigee.operator;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.net.httpserver.HttpServer;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.Test;

class HttpStatusProbeTest {
  private final HttpStatusProbe probe = new HttpStatusProbe(Duration.ofSeconds(20));

  @Test
  void readsWhatTheProgramSaysEvenWithFieldsThatAreNewToIt() throws IOException {
    withServer(
        200,
        "{\"phase\": \"Training\", \"step\": 7, \"totalSteps\": 9, \"tomorrow\": 1}",
        port -> {
          RunStatus status = probe.ask("127.0.0.1", port).orElseThrow();
          assertThat(status.phase()).isEqualTo(RunStatus.Phase.Training);
          assertThat(status.step()).isEqualTo(7);
        });
  }

  @Test
  void noAnswerIsNoError() throws IOException {
    withServer(503, "{}", port -> assertThat(probe.ask("127.0.0.1", port)).isEmpty());
    withServer(200, "not JSON", port -> assertThat(probe.ask("127.0.0.1", port)).isEmpty());
    int[] closed = new int[1];
    withServer(200, "{}", port -> closed[0] = port);
    assertThat(probe.ask("127.0.0.1", closed[0])).isEmpty();
  }

  private interface Check {
    void on(int port);
  }

  private static void withServer(int code, String body, Check check) throws IOException {
    HttpServer server =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
    server.createContext(
        "/status",
        exchange -> {
          exchange.sendResponseHeaders(code, bytes.length);
          exchange.getResponseBody().write(bytes);
          exchange.close();
        });
    server.start();
    try {
      check.on(server.getAddress().getPort());
    } finally {
      server.stop(0);
    }
  }
}
