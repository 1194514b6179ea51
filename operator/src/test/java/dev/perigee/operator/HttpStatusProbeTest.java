package dev.perigee.operator;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
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

  @Test
  void aProgramThatStopsInTheMiddleOfItsAnswerIsNotWaitedFor() throws IOException {
    HttpStatusProbe impatient = new HttpStatusProbe(Duration.ofMillis(500));
    CountDownLatch over = new CountDownLatch(1);
    withServer(
        exchange -> {
          exchange.sendResponseHeaders(200, 100);
          exchange.getResponseBody().write('{');
          exchange.getResponseBody().flush();
          awaited(over);
        },
        port -> {
          try {
            assertTimeoutPreemptively(
                Duration.ofSeconds(10),
                () -> assertThat(impatient.ask("127.0.0.1", port)).isEmpty());
          } finally {
            over.countDown();
          }
        });
  }

  @Test
  void anAnswerWithoutEndIsNotReadToItsEnd() throws IOException {
    AtomicLong sent = new AtomicLong();
    byte[] spaces = " ".repeat(1 << 16).getBytes(StandardCharsets.UTF_8);
    withServer(
        exchange -> {
          exchange.sendResponseHeaders(200, 0);
          while (sent.addAndGet(spaces.length) < 1 << 28) {
            exchange.getResponseBody().write(spaces);
          }
          exchange.close();
        },
        port -> assertThat(probe.ask("127.0.0.1", port)).isEmpty());
    assertThat(sent.get()).isLessThan(1 << 27);
  }

  private static void awaited(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private interface Check {
    void on(int port);
  }

  private static void withServer(int code, String body, Check check) throws IOException {
    byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
    withServer(
        exchange -> {
          exchange.sendResponseHeaders(code, bytes.length);
          exchange.getResponseBody().write(bytes);
          exchange.close();
        },
        check);
  }

  private static void withServer(HttpHandler answer, Check check) throws IOException {
    HttpServer server =
        HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext("/status", answer);
    server.start();
    try {
      check.on(server.getAddress().getPort());
    } finally {
      server.stop(0);
    }
  }
}
