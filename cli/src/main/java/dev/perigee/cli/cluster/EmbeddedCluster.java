package dev.perigee.cli.cluster;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiServer;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Write;
import dev.perigee.cli.cluster.node.FolderLocks;
import dev.perigee.cli.cluster.node.LocalNode;
import dev.perigee.cli.cluster.node.Programs;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** An API server with Perigee's kinds, and a node that runs pods as processes of this machine. */
public final class EmbeddedCluster implements AutoCloseable {
  private static final List<String> CRDS = List.of("pretrainjobs.perigee.dev.yaml");

  private final ApiServer api;
  private final LocalNode node;
  private final Path kubeconfig;
  private final FolderLocks locks;

  /**
   * What kind of cluster to start.
   *
   * @param port of the API server on 127.0.0.1; 0 for any free one
   * @param stateDir gets the kubeconfig and the pods' folders
   * @param runsDir has the volumes of claims, as {@code NAMESPACE/CLAIM}
   * @param programs which program an image stands for
   */
  public record Options(int port, Path stateDir, Path runsDir, Programs programs) {}

  private EmbeddedCluster(ApiServer api, LocalNode node, Path kubeconfig, FolderLocks locks) {
    this.api = api;
    this.node = node;
    this.kubeconfig = kubeconfig;
    this.locks = locks;
  }

  /**
   * Starts a cluster. Its objects are in memory and end with it; volumes of claims stay.
   *
   * @throws IOException when a port or a folder cannot be had; the message says what to do
   */
  public static EmbeddedCluster start(Options options) throws IOException {
    Path state = writable("state", options.stateDir());
    Path runs = writable("runs", options.runsDir());
    FolderLocks locks = new FolderLocks();
    locks.take(state, "choose another with --state"); // names of pods, kubeconfig, logs
    ApiServer api = null;
    LocalNode node = null;
    try {
      api = new ApiServer(options.port());
      installCrds(api);
      node = new LocalNode(api, options.programs(), state, runs);
      api.setPodLogs(node.logs());
      Path kubeconfig = state.resolve("kubeconfig");
      Files.write(kubeconfig, Json.yaml(kubeconfig(api.url())));
      return new EmbeddedCluster(api, node, kubeconfig, locks);
    } catch (IOException | RuntimeException e) {
      if (node != null) {
        node.close();
      }
      if (api != null) {
        api.close();
      }
      locks.close();
      throw e;
    }
  }

  /** Defines the kinds of Perigee in an API server. */
  public static void installCrds(ApiServer api) throws IOException {
    for (String crd : CRDS) {
      install(api, crd);
    }
  }

  private static Path writable(String what, Path folder) throws IOException {
    Path absolute = folder.toAbsolutePath().normalize();
    try {
      Files.createDirectories(absolute);
    } catch (IOException e) {
      throw unwritable(what, absolute, e);
    }
    if (!Files.isWritable(absolute)) {
      throw unwritable(what, absolute, new AccessDeniedException(absolute.toString()));
    }
    return absolute;
  }

  private static IOException unwritable(String what, Path folder, IOException cause) {
    return new IOException(
        "cannot write to the " + what + " folder " + folder + "; choose another with --" + what,
        cause);
  }

  private static void install(ApiServer api, String crd) throws IOException {
    try (InputStream yaml =
        EmbeddedCluster.class.getResourceAsStream("/META-INF/perigee/crds/" + crd)) {
      if (yaml == null) {
        throw new IOException("the CRD " + crd + " is not on the class path; run ./perigee build");
      }
      ObjectNode object = (ObjectNode) Json.parse(yaml.readAllBytes(), true);
      api.registry()
          .create(
              api.catalog()
                  .find("apiextensions.k8s.io/v1", "customresourcedefinitions")
                  .orElseThrow(),
              "",
              object,
              Write.by("perigee"));
    }
  }

  private static ObjectNode kubeconfig(String url) {
    ObjectNode config = Json.object().put("apiVersion", "v1").put("kind", "Config");
    config
        .putArray("clusters")
        .addObject()
        .put("name", "perigee")
        .putObject("cluster")
        .put("server", url);
    config
        .putArray("contexts")
        .addObject()
        .put("name", "perigee")
        .putObject("context")
        .put("cluster", "perigee")
        .put("user", "perigee")
        .put("namespace", "default");
    config.putArray("users").addObject().put("name", "perigee").putObject("user");
    return config.put("current-context", "perigee");
  }

  /** The API server. */
  public ApiServer api() {
    return api;
  }

  /** The node. */
  public LocalNode node() {
    return node;
  }

  /** A file that {@code KUBECONFIG} can name. */
  public Path kubeconfig() {
    return kubeconfig;
  }

  /** A new client of the API server; the caller closes it. */
  public KubernetesClient client() {
    Config config =
        new ConfigBuilder(Config.empty())
            .withMasterUrl(api.url())
            .withNamespace("default")
            .withOnlyHttpWatches(true)
            .build();
    return new KubernetesClientBuilder().withConfig(config).build();
  }

  @Override
  public void close() {
    node.close();
    api.close();
    locks.close();
  }
}
