package dev.perigee.operator.real;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.perigee.api.PretrainJob;
import dev.perigee.operator.OperatorOptions;
import dev.perigee.operator.StatusProbe;
import io.fabric8.kubeapitest.KubeAPIServer;
import io.fabric8.kubeapitest.KubeAPIServerConfigBuilder;
import io.fabric8.kubernetes.api.model.NamespaceBuilder;
import io.fabric8.kubernetes.api.model.NodeBuilder;
import io.fabric8.kubernetes.api.model.Quantity;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Stream;
import org.awaitility.Awaitility;

/**
 * A real kube-apiserver with etcd, without kubelet and controllers: tests play those. It starts
 * once for all tests of a JVM. Its binaries are those of Fabric8's kube-api-test; nothing is
 * downloaded, and without them a test is skipped with a line that says so.
 */
public final class RealApi {
  private static final Path BINARIES = Path.of(System.getProperty("user.home"), ".kubeapitest");
  private static final Path CRD = Path.of("..", "crds", "yaml", "pretrainjobs.perigee.dev.yaml");
  private static final Path EXAMPLE = Path.of("..", "examples", "quickstart.yaml");
  private static final YAMLMapper YAML = new YAMLMapper();
  private static final AtomicInteger NAMESPACES = new AtomicInteger();
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  /** The one node, which tests play. */
  public static final String NODE = "played";

  /** What it gives to pods. */
  private static final Map<String, Quantity> NODE_HAS =
      Map.of(
          "cpu", new Quantity("128"),
          "memory", new Quantity("1Ti"),
          "nvidia.com/gpu", new Quantity("8"));

  private static final Logger NOISE = Logger.getLogger("");

  private static RealApi started;

  private final String kubeconfig;
  private final KubernetesClient client;

  private RealApi(KubeAPIServer server) {
    kubeconfig = server.getKubeConfigYaml();
    client = new KubernetesClientBuilder().withConfig(config()).build();
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  client.close();
                  server.stop();
                }));
  }

  /** The server; the test is skipped when its binaries are not there. */
  public static synchronized RealApi orSkip() {
    requireBinaries();
    if (started == null) {
      started = start(servesPodGroups());
    }
    return started;
  }

  /** Another server, for a test that changes what others rely on; skipped like them. */
  static RealApi ownOrSkip() {
    requireBinaries();
    return startWithoutAlpha();
  }

  private static void requireBinaries() {
    assumeTrue(
        versions().findAny().isPresent(),
        "SKIPPED: no kube-apiserver in " + BINARIES + ", so nothing was tried against a real one");
  }

  /** Starts a server as it comes; it stops with this JVM. */
  public static RealApi startWithoutAlpha() {
    return start(false);
  }

  private static RealApi start(boolean podGroups) {
    // Some waits are for a deadline of the job's; the others pass at once, on a busy machine later.
    Awaitility.setDefaultTimeout(PATIENCE);
    KubeAPIServerConfigBuilder wanted =
        KubeAPIServerConfigBuilder.anAPIServerConfig()
            .withOfflineMode(true)
            .withUpdateKubeConfig(false);
    if (podGroups) {
      wanted
          .withApiServerFlag("--runtime-config=scheduling.k8s.io/v1alpha2=true")
          .withApiServerFlag("--feature-gates=GenericWorkload=true");
    }
    // Operators that are killed and requests that fail are what is tested; they need no log.
    NOISE.setLevel(Level.OFF);
    KubeAPIServer server = new KubeAPIServer(wanted.build());
    server.start();
    RealApi api = new RealApi(server);
    api.install();
    api.addNode();
    return api;
  }

  /** Whether this version has Kubernetes' own PodGroup, as an alpha API that is switched on. */
  public static boolean servesPodGroups() {
    return versions().anyMatch(v -> v.getFileName().toString().startsWith("1.36."));
  }

  /** A program that lies beside the API server's, for example kube-controller-manager. */
  public static Optional<Path> beside(String program) {
    return versions().map(v -> v.resolve(program)).filter(Files::isExecutable).findFirst();
  }

  private static Stream<Path> versions() {
    Path folder = BINARIES.resolve("k8s");
    if (!Files.isDirectory(folder)) {
      return Stream.empty();
    }
    try (Stream<Path> found = Files.list(folder)) {
      return found.sorted().toList().stream();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void install() {
    CustomResourceDefinition crd =
        client.apiextensions().v1().customResourceDefinitions().load(CRD.toFile()).item();
    client.resource(crd).serverSideApply();
    client
        .resource(crd)
        .waitUntilCondition(
            c ->
                c.getStatus() != null
                    && c.getStatus().getConditions() != null
                    && c.getStatus().getConditions().stream()
                        .anyMatch(
                            t -> t.getType().equals("Established") && t.getStatus().equals("True")),
            20,
            TimeUnit.SECONDS);
  }

  private void addNode() {
    client
        .resource(
            new NodeBuilder()
                .withNewMetadata()
                .withName(NODE)
                .endMetadata()
                .withNewStatus()
                .withAllocatable(NODE_HAS)
                .addNewCondition()
                .withType("Ready")
                .withStatus("True")
                .endCondition()
                .endStatus()
                .build())
        .create();
  }

  /** How to reach it, as kubectl would. */
  public String kubeconfig() {
    return kubeconfig;
  }

  /** How to reach it, as a client of our own. */
  public Config config() {
    Config config = Config.fromKubeconfig(kubeconfig);
    config.setRequestTimeout(120_000); // a whole collection is deleted in one request
    return config;
  }

  /** The administrator's client; it stays open. */
  public KubernetesClient client() {
    return client;
  }

  /** A new namespace. */
  public String namespace(String stem) {
    String name = stem + "-" + NAMESPACES.incrementAndGet();
    client
        .resource(new NamespaceBuilder().withNewMetadata().withName(name).endMetadata().build())
        .create();
    return name;
  }

  /** Creates the quickstart job, two pods, that restarts without waiting. */
  public void createJob(String namespace, String name) {
    createJob(namespace, name, 0);
  }

  /** Creates the quickstart job, two pods, with a wait before its first restart. */
  public void createJob(String namespace, String name, int backoffSeconds) {
    createJob(
        namespace,
        name,
        job -> job.withObject("/spec/failurePolicy").put("backoffSeconds", backoffSeconds));
  }

  /** Creates the quickstart job with changes to its manifest. */
  public void createJob(String namespace, String name, Consumer<ObjectNode> change) {
    ObjectNode job = (ObjectNode) example();
    job.withObject("/metadata").put("name", name);
    change.accept(job);
    client.raw(
        "/apis/perigee.dev/v1alpha1/namespaces/"
            + namespace
            + "/pretrainjobs?fieldValidation=Strict",
        "POST",
        job);
  }

  /** The quickstart job as a tree. */
  public static JsonNode example() {
    try (var read = YAML.readerFor(JsonNode.class).<JsonNode>readValues(EXAMPLE.toFile())) {
      List<JsonNode> all = read.readAll();
      return all.getLast();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The job as it is. */
  public PretrainJob job(String namespace, String name) {
    return client.resources(PretrainJob.class).inNamespace(namespace).withName(name).get();
  }

  /** An operator for one namespace that looks often and closes gangs to everybody else. */
  public static OperatorOptions options(String namespace, StatusProbe probe, Clock clock) {
    return new OperatorOptions(
        Set.of(namespace),
        "perigee-trainer:test",
        Duration.ofMillis(100),
        probe,
        clock,
        Optional.of(List.of()));
  }
}
