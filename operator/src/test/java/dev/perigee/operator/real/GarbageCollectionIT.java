package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.operator.OperatorRuntime;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.api.parallel.Isolated;

/** Owner references do what a finaliser would: the collector of a real cluster shows it. */
@Isolated("Its collector looks at all namespaces.")
class GarbageCollectionIT {
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  private static RealApi api;
  private static Path controllers;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
    Optional<Path> found = RealApi.beside("kube-controller-manager");
    assumeTrue(
        found.isPresent(),
        "SKIPPED: no kube-controller-manager beside kube-apiserver, so no garbage was collected");
    controllers = found.orElseThrow();
  }

  @Test
  void withAJobGoesAllThatWasMadeForItAndNothingElse(@TempDir Path folder) throws IOException {
    String namespace = api.namespace("garbage");
    Path kubeconfig = Files.writeString(folder.resolve("kubeconfig"), api.kubeconfig());
    api.createJob(namespace, "going");
    api.createJob(namespace, "staying");
    List<String> command =
        new ArrayList<>(
            List.of(
                controllers.toString(),
                "--kubeconfig=" + kubeconfig,
                "--leader-elect=false",
                "--secure-port=0"));
    // A PodGroup is kept by a controller of its own until its pods are gone.
    command.addAll(
        RealApi.servesPodGroups()
            ? List.of(
                "--controllers=garbage-collector-controller,podgroup-protection-controller",
                "--feature-gates=GenericWorkload=true")
            : List.of("--controllers=garbage-collector-controller"));
    Process collector =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(folder.resolve("log").toFile())
            .start();
    try (OperatorRuntime operator =
        OperatorRuntime.start(
            api.client(),
            RealApi.options(namespace, (host, port) -> Optional.empty(), Clock.systemUTC()))) {
      assertThat(operator).isNotNull();
      int each = RealApi.servesPodGroups() ? 5 : 4; // Service, ConfigMap, two pods, PodGroup
      await().atMost(PATIENCE).until(() -> children(namespace, "going") == each);
      await().atMost(PATIENCE).until(() -> children(namespace, "staying") == each);
      api.client().resource(api.job(namespace, "going")).delete();
      await().atMost(PATIENCE).until(() -> children(namespace, "going") == 0);
      assertThat(children(namespace, "staying")).isEqualTo(each);
    } finally {
      collector.destroyForcibly().onExit().join();
    }
  }

  private static int children(String namespace, String job) {
    KubernetesClient client = api.client();
    String label = "perigee.dev/job";
    int found =
        client.pods().inNamespace(namespace).withLabel(label, job).list().getItems().size()
            + client
                .services()
                .inNamespace(namespace)
                .withLabel(label, job)
                .list()
                .getItems()
                .size()
            + client
                .configMaps()
                .inNamespace(namespace)
                .withLabel(label, job)
                .list()
                .getItems()
                .size();
    return RealApi.servesPodGroups()
        ? found
            + client
                .genericKubernetesResources("scheduling.k8s.io/v1alpha2", "PodGroup")
                .inNamespace(namespace)
                .withLabel(label, job)
                .list()
                .getItems()
                .size()
        : found;
  }
}
