package dev.perigee.operator;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** {@code GET http://<pod address>:<port>/status}. */
public final class HttpStatusProbe implements StatusProbe {
  private static final Logger LOG = LoggerFactory.getLogger(HttpStatusProbe.class);

  /** A program is somebody else's: what it says must not fill the operator's memory. */
  private static final long LONGEST_ANSWER = 1 << 18;

  private final ObjectMapper json =
      new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
  private final HttpClient client;
  private final Duration patience;

  /**
   * A probe.
   *
   * @param patience how long one answer may take
   */
  public HttpStatusProbe(Duration patience) {
    this.patience = patience;
    this.client = HttpClient.newBuilder().connectTimeout(patience).build();
  }

  @Override
  public Optional<RunStatus> ask(String host, int port) {
    String authority = host.contains(":") ? "[" + host + "]" : host;
    HttpRequest request =
        HttpRequest.newBuilder(URI.create("http://" + authority + ":" + port + "/status"))
            .timeout(patience)
            .build();
    // The request's own time-out ends with the headers; a body may come slowly, or never.
    CompletableFuture<HttpResponse<byte[]>> asked =
        client.sendAsync(
            request,
            HttpResponse.BodyHandlers.limiting(
                HttpResponse.BodyHandlers.ofByteArray(), LONGEST_ANSWER));
    try {
      HttpResponse<byte[]> answer = asked.get(patience.toMillis(), TimeUnit.MILLISECONDS);
      return answer.statusCode() == 200
          ? Optional.ofNullable(json.readValue(answer.body(), RunStatus.class))
          : Optional.empty();
    } catch (IOException | ExecutionException | TimeoutException e) {
      LOG.debug("no status from {}", request.uri(), e);
      return Optional.empty();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Optional.empty();
    } finally {
      asked.cancel(true);
    }
  }
}
