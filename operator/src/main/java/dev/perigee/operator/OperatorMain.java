package dev.perigee.operator;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.operator.election.LeaderElection;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeer;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.javaoperatorsdk.operator.OperatorException;
import io.vertx.core.VertxException;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;

/**
 * The operator as a program of its own, in a cluster or beside one (it finds the cluster as kubectl
 * does).
 *
 * <p>Environment:
 *
 * <ul>
 *   <li>{@code PERIGEE_NAMESPACES}: namespaces to watch, separated by commas; empty for all
 *   <li>{@code PERIGEE_TRAINER_IMAGE}: image of jobs that name none
 *   <li>{@code PERIGEE_GANG_READERS}: JSON list of NetworkPolicy peers that may reach the HTTP port
 *       of every gang; when absent gangs get no NetworkPolicy
 *   <li>{@code PERIGEE_HTTP_PORT}: port of {@code /healthz}, {@code /readyz} and {@code /metrics};
 *       8080 when absent
 *   <li>{@code PERIGEE_LEASE}: {@code namespace/name} of the Lease that replicas share; when absent
 *       there is only this one
 *   <li>{@code PERIGEE_IDENTITY}: this replica's name in the Lease; needed with {@code
 *       PERIGEE_LEASE}
 * </ul>
 */
public final class OperatorMain {
  private static final int DEFAULT_HTTP_PORT = 8080;
  private static final String READERS = "PERIGEE_GANG_READERS";

  private OperatorMain() {}

  /** Runs until the process is told to stop; exit status 1 when it cannot go on. */
  public static void main(String[] args) throws InterruptedException {
    try {
      Map<String, String> environment = System.getenv();
      run(options(environment), election(environment), httpPort(environment));
    } catch (IllegalArgumentException
        | OperatorException
        | KubernetesClientException
        | IOException e) {
      System.err.println("perigee-operator: " + e.getMessage());
      System.exit(1);
    }
  }

  private static void run(OperatorOptions options, Optional<LeaderElection> election, int httpPort)
      throws InterruptedException, IOException {
    AtomicReference<OperatorRuntime> started = new AtomicReference<>();
    Config config = Config.autoConfigure(null);
    try (KubernetesClient client = ApiClient.connect(config);
        OperatorEndpoint _ =
            OperatorEndpoint.start(
                httpPort,
                () -> started.get() == null ? Optional.of("starting") : started.get().notReady(),
                () -> started.get() == null ? "" : started.get().metrics().text());
        OperatorRuntime runtime = OperatorRuntime.start(client, options, election)) {
      started.set(runtime);
      Runtime.getRuntime().addShutdownHook(new Thread(runtime::close));
      if (!runtime.awaitClose()) {
        System.err.println("perigee-operator: another replica may lead now; beginning anew");
        // Not by exit, which lets reconciliations finish: what they would write is another's now.
        Runtime.getRuntime().halt(1);
      }
    } catch (KubernetesClientException | VertxException e) { // or a connection broke
      if (e instanceof KubernetesClientException answered && answered.getCode() > 0) {
        throw e; // the API server has said why
      }
      throw new IOException(unreachable(config.getMasterUrl(), e), e);
    }
  }

  /** A line for whoever reads the log of a program that found no API server. */
  static String unreachable(String server, Throwable e) {
    Throwable root = e;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    String why = root.getMessage() == null ? root.getClass().getSimpleName() : root.getMessage();
    return "cannot reach the API server at "
        + server
        + ": "
        + why
        + "; in a pod the service account says where it is, elsewhere KUBECONFIG or ~/.kube/config";
  }

  static OperatorOptions options(Map<String, String> environment) {
    Set<String> namespaces =
        Arrays.stream(environment.getOrDefault("PERIGEE_NAMESPACES", "").split(",", -1))
            .map(String::strip)
            .filter(n -> !n.isEmpty())
            .collect(Collectors.toSet());
    OperatorOptions defaults = OperatorOptions.DEFAULT;
    return new OperatorOptions(
        namespaces,
        environment.getOrDefault("PERIGEE_TRAINER_IMAGE", defaults.trainerImage()),
        defaults.pollInterval(),
        defaults.statusProbe(),
        defaults.clock(),
        Optional.ofNullable(environment.get(READERS)).map(OperatorMain::readers));
  }

  private static List<NetworkPolicyPeer> readers(String json) {
    try {
      return new ObjectMapper().readValue(json, new TypeReference<>() {});
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(
          READERS
              + ": expected a JSON list of NetworkPolicy peers such as [{\"podSelector\": {}}], found "
              + json,
          e);
    }
  }

  static int httpPort(Map<String, String> environment) {
    String value = environment.get("PERIGEE_HTTP_PORT");
    try {
      int port = value == null ? DEFAULT_HTTP_PORT : Integer.parseInt(value);
      if (port >= 0 && port <= 65535) {
        return port;
      }
    } catch (NumberFormatException e) {
      // said below
    }
    throw new IllegalArgumentException(
        "PERIGEE_HTTP_PORT: " + value + " is not a port, 0 to 65535 (0 for any free one)");
  }

  static Optional<LeaderElection> election(Map<String, String> environment) {
    String lease = environment.get("PERIGEE_LEASE");
    if (lease == null) {
      return Optional.empty();
    }
    String[] parts = lease.split("/", -1);
    if (parts.length != 2 || parts[0].isEmpty() || parts[1].isEmpty()) {
      throw new IllegalArgumentException(
          "PERIGEE_LEASE: " + lease + " is not <namespace>/<name> of a Lease");
    }
    String identity = environment.getOrDefault("PERIGEE_IDENTITY", "");
    if (identity.isEmpty()) {
      throw new IllegalArgumentException(
          "PERIGEE_IDENTITY: needed with PERIGEE_LEASE, and different for each replica; for"
              + " example the pod's name");
    }
    return Optional.of(new LeaderElection(parts[0], parts[1], identity));
  }
}
