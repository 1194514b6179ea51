package dev.perigee.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.PretrainJob;
import dev.perigee.operator.InstallCheck;
import dev.perigee.operator.OperatorOptions;
import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.election.LeaderElection;
import io.fabric8.kubeapitest.KubeAPIServer;
import io.fabric8.kubeapitest.KubeAPIServerConfigBuilder;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.NamespaceBuilder;
import io.fabric8.kubernetes.api.model.ServiceAccount;
import io.fabric8.kubernetes.api.model.authentication.TokenRequestBuilder;
import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.utils.Serialization;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The chart's objects on a real kube-apiserver, and the operator as the chart's own account. The
 * binaries are those of Fabric8's kube-api-test; nothing is downloaded, and without them the tests
 * are skipped.
 */
class InstalledIT {
  private static final Path BINARIES = Path.of(System.getProperty("user.home"), ".kubeapitest");

  private static KubeAPIServer server;
  private static Config admin;
  private static KubernetesClient client;

  @BeforeAll
  static void start() {
    assumeTrue(
        Files.isDirectory(BINARIES.resolve("k8s")),
        "SKIPPED: no kube-apiserver in " + BINARIES + ", so the chart was not tried on a real one");
    Awaitility.setDefaultTimeout(Duration.ofSeconds(60));
    server =
        new KubeAPIServer(
            KubeAPIServerConfigBuilder.anAPIServerConfig()
                .withOfflineMode(true)
                .withUpdateKubeConfig(false)
                // Some distributions have it: owner references need rights of their own.
                .withApiServerFlag(
                    "--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
                .build());
    server.start();
    admin = Config.fromKubeconfig(server.getKubeConfigYaml());
    client = new KubernetesClientBuilder().withConfig(admin).build();
  }

  @AfterAll
  static void stop() {
    if (client != null) {
      client.close();
    }
    if (server != null) {
      server.stop();
    }
  }

  @Test
  void theOperatorRunsJobsOfEveryNamespaceWithTheChartsRights(@TempDir Path folder)
      throws IOException {
    namespaces("ops", "team");
    install(Rendered.withTests(folder, ""));
    try (KubernetesClient operator = as("ops", "perigee");
        KubernetesClient tester = as("ops", "perigee-test")) {
      assertThat(InstallCheck.rights(operator, "*", "ops")).isEmpty();
      assertThat(InstallCheck.rights(tester, "*", "ops"))
          .contains("not allowed: list pods in all namespaces");
      assertThat(InstallCheck.plans(tester, "ops")).isEmpty();
      assertThat(
              tester.raw(
                  "/apis/perigee.dev/v1alpha1/namespaces/ops/pretrainjobs"
                      + "?dryRun=All&fieldValidation=Strict",
                  "POST",
                  artifactHubsExample()))
          .contains("\"quickstart\"");
      assertThat(InstallCheck.plans(operator, "ops")).anyMatch(p -> p.contains("forbidden"));
      try (OperatorRuntime runtime = replica(operator, Set.of(), "ops", "only")) {
        assertThat(runtime.notReady()).isEmpty();
        runs("team", "everywhere");
        assertThat(runtime.metrics().text())
            .contains("perigee_operator_leader 1.0")
            .contains("perigee_operator_reconciliations_total{kind=\"PretrainJob\"");
      }
    }
  }

  private static JsonNode artifactHubsExample() throws IOException {
    return Rendered.YAML
        .readTree(
            Rendered.YAML
                .readTree(Path.of("Chart.yaml").toFile())
                .path("annotations")
                .path("artifacthub.io/crdsExamples")
                .asText())
        .get(0);
  }

  @Test
  void withScopeNamespacesItRunsThoseOfItsNamespaceWithNoRightElsewhere(@TempDir Path folder)
      throws IOException {
    namespaces("red", "blue");
    String values = "{scope: Namespaces, namespaces: [red]}";
    install(Rendered.withTests(folder, values), "ops", "red-ops");
    try (KubernetesClient operator = as("red-ops", "perigee")) {
      assertThat(InstallCheck.rights(operator, "red", "red-ops")).isEmpty();
      assertThat(InstallCheck.rights(operator, "blue", "red-ops"))
          .contains("not allowed: create pods in namespace blue");
      try (OperatorRuntime runtime = replica(operator, Set.of("red"), "red-ops", "only")) {
        assertThat(runtime.notReady()).isEmpty();
        runs("red", "here");
      }
    }
  }

  @Test
  void aReplicaThatStopsHandsOverAtOnceAndOneThatDiesWithinFifteenSeconds() {
    namespaces("pair");
    install(Rendered.with(""), "ops", "pair");
    KubernetesClient firstClient = as("pair", "perigee");
    try (KubernetesClient secondClient = as("pair", "perigee");
        KubernetesClient thirdClient = as("pair", "perigee")) {
      OperatorRuntime first = replica(firstClient, Set.of("pair"), "pair", "first");
      await().until(() -> holder("pair").equals("first"));
      OperatorRuntime second = replica(secondClient, Set.of("pair"), "pair", "second");
      assertThat(second.notReady()).as("a replica that waits is ready").isEmpty();

      firstClient.close(); // as if its node were gone: nothing is given back
      long died = System.nanoTime();
      await().atMost(Duration.ofSeconds(15)).until(() -> holder("pair").equals("second"));
      runs("pair", "after-death");
      System.out.printf("taken over after %.1f s%n", (System.nanoTime() - died) / 1e9);

      try (OperatorRuntime third = replica(thirdClient, Set.of("pair"), "pair", "third")) {
        assertThat(leads(third)).isFalse();
        long stopped = System.nanoTime();
        second.close();
        await().atMost(Duration.ofSeconds(6)).until(() -> leads(third));
        System.out.printf("given over after %.1f s%n", (System.nanoTime() - stopped) / 1e9);
      }
      first.close();
    }
  }

  /** The garbage collector deletes it then; the account can make no other, as it is gone. */
  @Test
  void theLeaseBelongsToTheChartsAccountAndSoGoesWithTheRelease() {
    namespaces("owner");
    install(Rendered.with(""), "ops", "owner");
    try (KubernetesClient operator = as("owner", "perigee");
        OperatorRuntime replica = replica(operator, Set.of("owner"), "owner", "only")) {
      await().until(() -> holder("owner").equals("only") && leads(replica));
      ServiceAccount account =
          client.serviceAccounts().inNamespace("owner").withName("perigee").get();
      assertThat(lease("owner").orElseThrow().getMetadata().getOwnerReferences())
          .singleElement()
          .satisfies(
              owner -> {
                assertThat(owner.getApiVersion()).isEqualTo("v1");
                assertThat(owner.getKind()).isEqualTo("ServiceAccount");
                assertThat(owner.getName()).isEqualTo("perigee");
                assertThat(owner.getUid()).isEqualTo(account.getMetadata().getUid());
              });
    }
  }

  private static boolean leads(OperatorRuntime replica) {
    return replica.metrics().text().contains("perigee_operator_leader 1.0");
  }

  private static String holder(String namespace) {
    return lease(namespace).map(lease -> lease.getSpec().getHolderIdentity()).orElse("");
  }

  private static Optional<Lease> lease(String namespace) {
    return Optional.ofNullable(client.leases().inNamespace(namespace).withName("perigee").get());
  }

  private static OperatorRuntime replica(
      KubernetesClient as, Set<String> namespaces, String electionNamespace, String identity) {
    OperatorOptions defaults = OperatorOptions.DEFAULT;
    return OperatorRuntime.start(
        as,
        new OperatorOptions(
            namespaces,
            defaults.trainerImage(),
            Duration.ofMillis(500),
            (host, port) -> Optional.empty(),
            Clock.systemUTC()),
        Optional.of(new LeaderElection(electionNamespace, "perigee", identity)));
  }

  /** A job gets its pods, its status and its Events. */
  private static void runs(String namespace, String name) {
    try {
      ObjectNode job =
          Rendered.YAML
              .readValues(
                  Rendered.YAML.createParser(
                      Files.readString(Path.of("..", "examples", "quickstart.yaml"))),
                  ObjectNode.class)
              .readAll()
              .getLast();
      job.withObject("/metadata").put("name", name);
      client.raw(
          "/apis/perigee.dev/v1alpha1/namespaces/" + namespace + "/pretrainjobs", "POST", job);
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
    await().until(() -> pods(namespace, name) == 2);
    await()
        .until(
            () ->
                client.v1().events().inNamespace(namespace).list().getItems().stream()
                    .anyMatch(e -> e.getInvolvedObject().getName().equals(name)));
    var jobs = client.resources(PretrainJob.class).inNamespace(namespace);
    assertThat(jobs.withName(name).get().getStatus().observedGeneration()).isEqualTo(1);
    jobs.withName(name).delete(); // nobody collects garbage here
    client.pods().inNamespace(namespace).withLabel("perigee.dev/job", name).delete();
  }

  private static int pods(String namespace, String job) {
    return client
        .pods()
        .inNamespace(namespace)
        .withLabel("perigee.dev/job", job)
        .list()
        .getItems()
        .size();
  }

  private static void namespaces(String... names) {
    for (String name : names) {
      client
          .resource(new NamespaceBuilder().withNewMetadata().withName(name).endMetadata().build())
          .serverSideApply();
    }
  }

  private static void install(Rendered rendered) {
    install(rendered, "ops", "ops");
  }

  /** Applies what the chart makes, as if it had been installed into another namespace. */
  private static void install(Rendered rendered, String from, String to) {
    namespaces(to);
    for (JsonNode object : rendered.objects()) {
      if (List.of("Pod", "Deployment").contains(object.path("kind").asText())) {
        continue; // nobody runs them here
      }
      HasMetadata applied =
          Serialization.unmarshal(
              object
                  .toString()
                  .replace("\"namespace\":\"" + from + "\"", "\"namespace\":\"" + to + "\""),
              HasMetadata.class);
      client.resource(applied).forceConflicts().serverSideApply();
    }
    await()
        .until(
            () ->
                client
                    .apiextensions()
                    .v1()
                    .customResourceDefinitions()
                    .withName("pretrainjobs.perigee.dev")
                    .get()
                    .getStatus()
                    .getConditions()
                    .stream()
                    .anyMatch(
                        c -> c.getType().equals("Established") && c.getStatus().equals("True")));
  }

  /** A client with a ServiceAccount's token and nothing else. */
  private static KubernetesClient as(String namespace, String account) {
    String token =
        client
            .serviceAccounts()
            .inNamespace(namespace)
            .withName(account)
            .tokenRequest(
                new TokenRequestBuilder()
                    .withNewSpec()
                    .withExpirationSeconds(3600L)
                    .endSpec()
                    .build())
            .getStatus()
            .getToken();
    return new KubernetesClientBuilder()
        .withConfig(
            new ConfigBuilder(Config.empty())
                .withMasterUrl(admin.getMasterUrl())
                .withCaCertData(admin.getCaCertData())
                .withCaCertFile(admin.getCaCertFile())
                .withTrustCerts(admin.isTrustCerts())
                .withOauthToken(token)
                .build())
        .build();
  }
}
