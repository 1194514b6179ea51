package dev.perigee.cli.cluster.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Requests that a well-behaved client would not send. */
class ApiServerTest {
  private final ApiServer server;

  ApiServerTest() throws IOException {
    server = new ApiServer(0);
  }

  @AfterEach
  void stop() {
    server.close();
  }

  @Test
  void aBodyThatIsTooLargeIsRefusedAndTheAnswerArrives() throws Exception {
    String name = "x".repeat(32 << 20); // more than both ends buffer
    for (int i = 0; i < 5; i++) {
      HttpResponse<String> answer = post("application/json", "{\"metadata\":{\"name\":\"" + name);
      assertThat(answer.statusCode()).isEqualTo(413);
      assertThat(answer.body()).contains("Request entity too large: limit is 3145728");
    }
  }

  @Test
  void aBodyWithoutEndIsCutOff() throws Exception {
    try (Socket client =
        new Socket(InetAddress.getLoopbackAddress(), URI.create(server.url()).getPort())) {
      OutputStream out = client.getOutputStream();
      out.write(
          "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"
              .getBytes(StandardCharsets.US_ASCII));
      byte[] chunk = new byte[1 << 20];
      assertThatThrownBy(
              () -> {
                for (int i = 0; i < 200; i++) {
                  out.write(chunk);
                }
              })
          .isInstanceOf(SocketException.class);
    }
  }

  @Test
  void whatKubectlWritesInProtobufIsRefusedWithAWayOut() throws Exception {
    HttpResponse<String> answer = post("application/vnd.kubernetes.protobuf", "k8s");
    assertThat(answer.statusCode()).isEqualTo(415);
    assertThat(answer.body())
        .contains("application/vnd.kubernetes.protobuf")
        .contains("--dry-run=client -o yaml");
  }

  @Test
  void nestingWithoutEndIsRefused() throws Exception {
    for (String type : new String[] {"application/json", "application/yaml"}) {
      HttpResponse<String> answer = post(type, "[".repeat(100_000));
      assertThat(answer.statusCode()).isEqualTo(400);
      assertThat(answer.body()).contains("the body of the request cannot be read");
    }
  }

  private HttpResponse<String> post(String type, String body)
      throws IOException, InterruptedException {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(server.url() + "/api/v1/namespaces/default/configmaps"))
            .header("Content-Type", type)
            .POST(BodyPublishers.ofString(body))
            .build();
    try (HttpClient client = HttpClient.newHttpClient()) {
      return client.send(request, BodyHandlers.ofString());
    }
  }
}
