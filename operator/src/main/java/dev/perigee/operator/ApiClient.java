package dev.perigee.operator;

import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.vertx.VertxHttpClientFactory;
import io.vertx.ext.web.client.WebClientOptions;
import java.time.Duration;

/**
 * How the operator reaches the API server: with an end to every wait.
 *
 * <p>A request that gets no answer fails after the configuration's request time-out, 10 s where it
 * says nothing. A watch has none: its stream stays open for minutes, and one whose other end
 * vanished without a word would leave an operator that looks well and hears nothing any more. The
 * API server sends every watch a bookmark about once a minute, so a connection that has been silent
 * for much longer is dead, and is closed; what watches comes back by itself.
 */
public final class ApiClient {
  /** How long a connection may be silent: some bookmarks. */
  public static final Duration SILENCE = Duration.ofMinutes(3);

  private ApiClient() {}

  /** A client that reads as the operator does, without what it never looks at. */
  public static KubernetesClient connect(Config config) {
    return connect(config, SILENCE);
  }

  /**
   * The same.
   *
   * @param silence how long a connection may be silent, in whole seconds
   */
  public static KubernetesClient connect(Config config, Duration silence) {
    return new KubernetesClientBuilder()
        .withConfig(config)
        .withHttpClientFactory(new Impatient(silence))
        .withKubernetesSerialization(LeanReading.serialization())
        .build();
  }

  private static final class Impatient extends VertxHttpClientFactory {
    private final Duration silence;

    Impatient(Duration silence) {
      this.silence = silence;
    }

    @Override
    protected void additionalConfig(WebClientOptions options) {
      options.setIdleTimeout(Math.toIntExact(silence.toSeconds()));
    }
  }
}
