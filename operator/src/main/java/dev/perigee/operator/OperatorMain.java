package dev.perigee.operator;

import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.javaoperatorsdk.operator.OperatorException;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * The operator as a program of its own, in a cluster or beside one (it finds the cluster as kubectl
 * does).
 *
 * <p>Environment: {@code PERIGEE_NAMESPACES}, namespaces to watch, separated by commas, empty for
 * all; {@code PERIGEE_TRAINER_IMAGE}, image of jobs that name none.
 */
public final class OperatorMain {
  private OperatorMain() {}

  /** Runs until the process is told to stop. */
  public static void main(String[] args) throws InterruptedException {
    OperatorOptions options = options(System.getenv());
    try (KubernetesClient client = new KubernetesClientBuilder().build();
        OperatorRuntime runtime = OperatorRuntime.start(client, options)) {
      Runtime.getRuntime().addShutdownHook(new Thread(runtime::close));
      runtime.awaitClose();
    } catch (OperatorException | KubernetesClientException e) {
      System.err.println("perigee-operator: " + e.getMessage());
      System.exit(1);
    }
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
        defaults.clock());
  }
}
