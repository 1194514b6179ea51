package dev.perigee.cli.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The client that the operator is built on understands the embedded cluster. */
class ClientTest {
  @TempDir Path folder;

  /** A path, or a model's sample of a text, in any script; long enough for several chunks. */
  @Test
  void aWatchBringsTextInEveryScript() throws Exception {
    String text = "Größe, путь, 道, 😀; ".repeat(2000);
    try (EmbeddedCluster cluster =
            EmbeddedCluster.start(
                new EmbeddedCluster.Options(
                    0, folder.resolve("state"), folder.resolve("runs"), new ShellPrograms()));
        KubernetesClient client = cluster.client();
        SharedIndexInformer<ConfigMap> informer = client.configMaps().inform()) {
      for (String name : new String[] {"first", "second"}) {
        client
            .resource(
                new ConfigMapBuilder()
                    .withNewMetadata()
                    .withName(name)
                    .endMetadata()
                    .withData(Map.of("text", text))
                    .build())
            .create();

        Awaitility.await()
            .atMost(Duration.ofSeconds(20))
            .until(
                () ->
                    !informer.isWatching()
                        || informer.getStore().list().stream()
                            .anyMatch(c -> c.getMetadata().getName().equals(name)));
        assertThat(informer.getStore().getByKey("default/" + name).getData())
            .containsEntry("text", text);
      }
    }
  }
}
