package dev.perigee.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.marcnuri.helm.Helm;
import com.marcnuri.helm.LintResult;
import dev.perigee.operator.Rights;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The chart as Helm reads it. */
class ChartTest {
  private static final String LONGEST = "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr";

  /** Where names are cut off, dashes stand. */
  private static final String LONG_DASHES = "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr-----r";

  private static final Rendered DEFAULT = Rendered.with("");
  private static final Rendered NAMESPACED = Rendered.with("scope: Namespaces");

  @Test
  void helmFindsNothingToComplainAbout() {
    LintResult result = new Helm(Rendered.CHART).lint().strict().call();
    assertThat(result.isFailed()).as("%s", result.getMessages()).isFalse();
    assertThat(result.getMessages()).noneMatch(m -> m.contains("[WARNING]"));
  }

  @Test
  void theOperatorMayDoWhatItsCodeNeedsAndNothingElse() {
    assertThat(rules(DEFAULT.one("ClusterRole", "perigee")))
        .containsExactlyElementsOf(
            Stream.concat(Rights.OF_JOBS.stream(), Rights.OF_CLUSTER.stream()).toList());
    assertThat(rules(DEFAULT.one("Role", "perigee-election"))).isEqualTo(Rights.OF_ELECTION);
    assertThat(DEFAULT.all("ClusterRoleBinding")).singleElement().satisfies(ChartTest::isBound);
  }

  @Test
  void noRoleOfTheChartReadsSecretsOrHasAWildcard() {
    for (Rendered rendered : List.of(DEFAULT, NAMESPACED)) {
      Stream.concat(rendered.all("ClusterRole").stream(), rendered.all("Role").stream())
          .flatMap(role -> rules(role).stream())
          .forEach(
              right -> {
                assertThat(right.resource()).doesNotStartWith("secrets").doesNotContain("*");
                assertThat(right.verbs()).doesNotContain("*");
              });
    }
  }

  @Test
  void withScopeNamespacesNothingGivesRightsOnTheCluster() {
    assertThat(NAMESPACED.all("ClusterRole")).isEmpty();
    assertThat(NAMESPACED.all("ClusterRoleBinding")).isEmpty();
    assertThat(rules(NAMESPACED.one("Role", "perigee"))).isEqualTo(Rights.OF_JOBS);
    assertThat(NAMESPACED.one("Role", "perigee").at("/metadata/namespace").asText())
        .isEqualTo("ops");
    assertThat(environment(NAMESPACED)).contains("PERIGEE_NAMESPACES=ops");
    assertThat(environment(DEFAULT)).contains("PERIGEE_NAMESPACES=");
  }

  @Test
  void eachNamespaceOfAListHasItsRoleAndIsWatched() {
    Rendered rendered = Rendered.with("{scope: Namespaces, namespaces: [red, blue]}");
    assertThat(rendered.all("Role"))
        .filteredOn(r -> r.at("/metadata/name").asText().equals("perigee"))
        .extracting(r -> r.at("/metadata/namespace").asText())
        .containsExactlyInAnyOrder("red", "blue");
    assertThat(rendered.all("RoleBinding"))
        .filteredOn(r -> r.at("/metadata/name").asText().equals("perigee"))
        .hasSize(2)
        .allSatisfy(ChartTest::isBound);
    assertThat(environment(rendered)).contains("PERIGEE_NAMESPACES=red,blue");
  }

  @Test
  void whoeverMayEditANamespaceMayEditItsJobs() {
    JsonNode view = DEFAULT.one("ClusterRole", "perigee-view");
    JsonNode edit = DEFAULT.one("ClusterRole", "perigee-edit");
    assertThat(aggregatesTo(view)).containsExactlyInAnyOrder("view", "edit", "admin");
    assertThat(aggregatesTo(edit)).containsExactlyInAnyOrder("edit", "admin");
    assertThat(aggregatesTo(DEFAULT.one("ClusterRole", "perigee-admin"))).containsExactly("admin");
    assertThat(rules(view))
        .allSatisfy(r -> assertThat(r.verbs()).containsExactly("get", "list", "watch"));
    assertThat(Rendered.with("rbac: {aggregate: false}").all("ClusterRole")).hasSize(1);
  }

  @Test
  void everyPodOfTheChartIsRestricted(@TempDir Path folder) throws IOException {
    List<JsonNode> pods = Rendered.withTests(folder, "").podSpecs();
    assertThat(pods).hasSize(3);
    for (JsonNode pod : pods) {
      JsonNode security = pod.path("securityContext");
      assertThat(security.path("runAsNonRoot").asBoolean()).isTrue();
      assertThat(security.at("/seccompProfile/type").asText()).isEqualTo("RuntimeDefault");
      assertThat(pod.path("containers")).hasSize(1);
      JsonNode container = pod.at("/containers/0/securityContext");
      assertThat(container.path("allowPrivilegeEscalation").asBoolean(true)).isFalse();
      assertThat(container.path("readOnlyRootFilesystem").asBoolean()).isTrue();
      assertThat(container.at("/capabilities/drop"))
          .extracting(JsonNode::asText)
          .containsExactly("ALL");
      assertThat(pod.path("volumes")).allMatch(v -> v.has("emptyDir"));
      assertThat(pod.path("hostNetwork").asBoolean()).isFalse();
    }
  }

  @Test
  void replicasShareALeaseUnderTheirPodNames() {
    assertThat(environment(DEFAULT)).contains("PERIGEE_LEASE=ops/perigee");
    assertThat(DEFAULT.text()).contains("fieldPath: metadata.name");
    assertThat(DEFAULT.one("Deployment", "perigee").at("/spec/replicas").asInt()).isEqualTo(2);
    assertThat(DEFAULT.one("PodDisruptionBudget", "perigee").at("/spec/maxUnavailable").asInt())
        .isEqualTo(1);
    assertThat(Rendered.with("replicas: 1").all("PodDisruptionBudget")).isEmpty();
  }

  @Test
  void probesAskForWhatTheOperatorAnswers() {
    JsonNode container =
        DEFAULT.one("Deployment", "perigee").at("/spec/template/spec/containers/0");
    assertThat(container.at("/startupProbe/httpGet/path").asText()).isEqualTo("/readyz");
    assertThat(container.at("/startupProbe/periodSeconds").asInt()).isEqualTo(1);
    assertThat(container.at("/readinessProbe/httpGet/path").asText()).isEqualTo("/readyz");
    assertThat(container.at("/livenessProbe/httpGet/path").asText()).isEqualTo("/healthz");
    assertThat(container.at("/resources/limits/memory").asText()).isNotEmpty();
  }

  @Test
  void anImageIsNamedByItsDigestWhenItHasOne(@TempDir Path folder) throws IOException {
    String digest = "sha256:" + "ab".repeat(32);
    Rendered rendered =
        Rendered.withTests(
            folder,
            "{image: {repository: r.example/op, digest: '%s'}, trainer: {image: {tag: t1}}}"
                .formatted(digest));
    assertThat(rendered.podSpecs())
        .allSatisfy(
            p ->
                assertThat(p.at("/containers/0/image").asText())
                    .isEqualTo("r.example/op@" + digest));
    assertThat(environment(rendered)).contains("PERIGEE_TRAINER_IMAGE=perigee-trainer:t1");
  }

  @Test
  void theOperatorTalksToTheApiServerToNamesAndToGangsOnly() {
    JsonNode policy = DEFAULT.one("NetworkPolicy", "perigee");
    assertThat(policy.at("/spec/policyTypes"))
        .extracting(JsonNode::asText)
        .containsExactly("Ingress", "Egress");
    assertThat(policy.at("/spec/egress/0/ports")).allMatch(p -> p.path("port").asInt() == 53);
    assertThat(policy.at("/spec/egress/1/ports"))
        .extracting(p -> p.path("port").asInt())
        .containsExactly(443, 6443);
    assertThat(
            policy
                .at("/spec/egress/2/to/0/podSelector/matchLabels/app.kubernetes.io~1managed-by")
                .asText())
        .isEqualTo("perigee");
    assertThat(policy.at("/spec/egress")).hasSize(3);
    assertThat(Rendered.with("networkPolicy: {enabled: false}").all("NetworkPolicy")).isEmpty();
  }

  @Test
  void gangsAreOpenToTheOperatorAndToWhoeverReadsMetricsOnly() throws IOException {
    JsonNode operator = readers(DEFAULT).get(0);
    assertThat(readers(DEFAULT)).hasSize(1);
    assertThat(operator.at("/namespaceSelector/matchLabels/kubernetes.io~1metadata.name").asText())
        .isEqualTo("ops");
    JsonNode deployment = DEFAULT.one("Deployment", "perigee");
    assertThat(operator.at("/podSelector/matchLabels"))
        .isEqualTo(deployment.at("/spec/selector/matchLabels"));
    assertThat(readers(Rendered.with("networkPolicy: {gangs: {metricsFrom: [{podSelector: {}}]}}")))
        .hasSize(2);
    assertThat(environment(Rendered.with("networkPolicy: {gangs: {enabled: false}}")))
        .noneMatch(e -> e.startsWith("PERIGEE_GANG_READERS"));
    assertThatThrownBy(() -> Rendered.with("metrics: {podMonitor: {enabled: true}}"))
        .hasMessageContaining("networkPolicy.gangs.metricsFrom");
  }

  private static JsonNode readers(Rendered rendered) throws IOException {
    String prefix = "PERIGEE_GANG_READERS=";
    String json =
        environment(rendered).stream().filter(e -> e.startsWith(prefix)).findFirst().orElseThrow();
    return Rendered.YAML.readTree(json.substring(prefix.length()));
  }

  @Test
  void monitorsAreMadeWhenAskedFor() {
    assertThat(DEFAULT.text()).doesNotContain("monitoring.coreos.com");
    Rendered rendered =
        Rendered.with(
            """
            metrics:
              serviceMonitor: {enabled: true, labels: {release: prometheus}}
              podMonitor: {enabled: true}
              prometheusRule: {enabled: true}
            networkPolicy: {gangs: {metricsFrom: [{podSelector: {}}]}}
            """);
    assertThat(rendered.one("ServiceMonitor", "perigee").at("/metadata/labels/release").asText())
        .isEqualTo("prometheus");
    assertThat(
            rendered
                .one("PodMonitor", "perigee-gangs")
                .at("/spec/namespaceSelector/any")
                .asBoolean())
        .isTrue();
    assertThat(rendered.all("PrometheusRule")).hasSize(1);
  }

  @Test
  void theTestsRunAsTheOperatorAndAsSomebodyWhoSubmits(@TempDir Path folder) throws IOException {
    Rendered cluster = Rendered.withTests(Files.createDirectory(folder.resolve("a")), "");
    JsonNode rights = cluster.one("Pod", "perigee-test-rights").path("spec");
    assertThat(rights.path("serviceAccountName").asText()).isEqualTo("perigee");
    assertThat(rights.at("/containers/0/args"))
        .extracting(JsonNode::asText)
        .containsExactly("rights", "*", "ops");
    JsonNode plans = cluster.one("Pod", "perigee-test-plans").path("spec");
    assertThat(plans.path("serviceAccountName").asText()).isEqualTo("perigee-test");
    assertThat(plans.at("/containers/0/args"))
        .extracting(JsonNode::asText)
        .containsExactly("plans", "ops");
    assertThat(rules(cluster.one("Role", "perigee-test")))
        .containsExactly(new Rights("perigee.dev", "pretrainjobs", List.of("create")));

    Rendered red =
        Rendered.withTests(
            Files.createDirectory(folder.resolve("b")),
            "{scope: Namespaces, namespaces: [red, blue]}");
    assertThat(red.one("Pod", "perigee-test-rights").at("/spec/containers/0/args"))
        .extracting(JsonNode::asText)
        .containsExactly("rights", "red,blue", "ops");
    assertThat(red.one("Role", "perigee-test").at("/metadata/namespace").asText()).isEqualTo("red");
  }

  @Test
  void theTestsPodsGoWhereTheOperatorsGo(@TempDir Path folder) throws IOException {
    Rendered rendered =
        Rendered.withTests(
            folder,
            """
            imagePullSecrets: [registry]
            priorityClassName: system-cluster-critical
            nodeSelector: {pool: system}
            tolerations: [{key: pool, operator: Exists}]
            """);
    assertThat(rendered.podSpecs())
        .hasSize(3)
        .allSatisfy(
            pod -> {
              assertThat(pod.at("/imagePullSecrets/0/name").asText()).isEqualTo("registry");
              assertThat(pod.path("priorityClassName").asText())
                  .isEqualTo("system-cluster-critical");
              assertThat(pod.at("/nodeSelector/pool").asText()).isEqualTo("system");
              assertThat(pod.at("/tolerations/0/key").asText()).isEqualTo("pool");
            });
  }

  @Test
  void labelsOfOnesOwnAreAddedToTheChartsOwn() {
    Rendered rendered = Rendered.with("{podLabels: {team: a}, podAnnotations: {note: b}}");
    JsonNode template = rendered.one("Deployment", "perigee").at("/spec/template/metadata");
    assertThat(template.at("/labels/team").asText()).isEqualTo("a");
    assertThat(template.at("/labels/app.kubernetes.io~1instance").asText()).isEqualTo("perigee");
    assertThat(template.at("/annotations/note").asText()).isEqualTo("b");
  }

  /** Of each namespace there is one release of a name; what is of the cluster has to differ. */
  @Test
  void twoReleasesShareNoObject() {
    Set<String> first = names(Rendered.release("perigee", "a", "crds: {install: false}"));
    Set<String> second = names(Rendered.release("other", "b", "crds: {install: false}"));
    assertThat(first).hasSizeGreaterThan(10).doesNotContainAnyElementsOf(second);
  }

  /** A Service's name is a label of DNS: it begins with a letter and has no dots. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "perigee",
        "a",
        "7",
        "2026-perigee",
        "team.perigee",
        "a.b-c.d",
        LONGEST,
        LONG_DASHES
      })
  void everyNameOfAReleaseGivesNamesThatFit(String release, @TempDir Path folder)
      throws IOException {
    Rendered rendered = Rendered.withTests(folder, release, "ops", "crds: {install: false}");
    assertThat(rendered.objects())
        .extracting(o -> o.at("/metadata/name").asText())
        .allMatch(name -> name.matches("[a-z]([-a-z0-9]{0,61}[a-z0-9])?"))
        .noneMatch(name -> name.contains("---"));
    assertThat(
            rendered
                .one("Deployment", rendered.all("Service").getFirst().at("/metadata/name").asText())
                .isMissingNode())
        .isFalse();
  }

  /** A build's number after a plus is part of a version, but not of a label. */
  @Test
  void aVersionWithABuildGivesLabelsThatFit(@TempDir Path folder) throws IOException {
    Rendered rendered =
        Rendered.version(folder, "1.2.3-rc.1+build." + "f".repeat(60), "crds: {install: false}");
    assertThat(rendered.objects())
        .extracting(o -> o.at("/metadata/labels/helm.sh~1chart").asText())
        .allMatch(label -> label.startsWith("perigee-1.2.3-rc.1_build.f"))
        .allMatch(label -> label.matches("[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"));
  }

  @Test
  void anotherChartMayHaveItAsAPartAndLeaveItOut(@TempDir Path folder) throws IOException {
    String values = "perigee: {enabled: %s}";
    Path first = Files.createDirectory(folder.resolve("a"));
    assertThat(Rendered.partOfAnother(first, values.formatted(true)).all("Deployment")).hasSize(1);
    Path second = Files.createDirectory(folder.resolve("b"));
    assertThat(Rendered.partOfAnother(second, values.formatted(false)).objects())
        .extracting(o -> o.path("kind").asText())
        .containsExactly("ConfigMap");
  }

  @Test
  void whateverIsSwitchedOnOrOffStandsBesideTheRest() {
    for (int switches = 0; switches < 1 << 7; switches++) {
      boolean[] on = new boolean[7];
      for (int i = 0; i < on.length; i++) {
        on[i] = (switches >> i & 1) == 1;
      }
      String values =
          """
          metrics:
            serviceMonitor: {enabled: %s}
            podMonitor: {enabled: %s}
            prometheusRule: {enabled: %s}
          networkPolicy: {enabled: %s, gangs: {enabled: %s, metricsFrom: [{podSelector: {}}]}}
          podDisruptionBudget: {enabled: %s}
          replicas: %d
          crds: {install: false}
          """
              .formatted(on[0], on[1], on[2], on[3], on[4], on[5], on[6] ? 5 : 1);
      Rendered rendered = Rendered.with(values);
      assertThat(rendered.objects())
          .as(values)
          .hasSize(10 + count(on[0], on[1], on[2], on[3], on[5] && on[6]))
          .allMatch(o -> !o.at("/metadata/name").asText().isEmpty());
      assertThat(rendered.all("ServiceMonitor")).as(values).hasSize(count(on[0]));
      assertThat(rendered.all("PodMonitor")).as(values).hasSize(count(on[1]));
      assertThat(rendered.all("PrometheusRule")).as(values).hasSize(count(on[2]));
      assertThat(rendered.all("NetworkPolicy")).as(values).hasSize(count(on[3]));
      assertThat(environment(rendered).stream().anyMatch(e -> e.contains("GANG_READERS")))
          .as(values)
          .isEqualTo(on[4]);
      assertThat(rendered.all("PodDisruptionBudget")).as(values).hasSize(count(on[5] && on[6]));
    }
  }

  private static int count(boolean... made) {
    int count = 0;
    for (boolean one : made) {
      count += one ? 1 : 0;
    }
    return count;
  }

  /** A quota of the namespace refuses pods that do not say what they need. */
  @Test
  void everyPodSaysWhatItNeeds(@TempDir Path folder) throws IOException {
    assertThat(Rendered.withTests(folder, "").podSpecs())
        .hasSize(3)
        .allSatisfy(
            pod -> {
              JsonNode resources = pod.at("/containers/0/resources");
              assertThat(resources.at("/requests/cpu").asText()).isEqualTo("100m");
              assertThat(resources.at("/limits/memory").asText()).isEqualTo("512Mi");
            });
  }

  private static Set<String> names(Rendered rendered) {
    return rendered.objects().stream()
        .map(
            o ->
                o.path("kind").asText()
                    + " "
                    + o.at("/metadata/namespace").asText()
                    + "/"
                    + o.at("/metadata/name").asText())
        .collect(Collectors.toSet());
  }

  @Test
  void theDefinitionsAreInstalledAndOutliveTheRelease() throws IOException {
    JsonNode committed;
    try (InputStream in =
        Files.newInputStream(Path.of("..", "crds", "yaml", "pretrainjobs.perigee.dev.yaml"))) {
      committed = Rendered.YAML.readTree(in);
    }
    JsonNode installed = DEFAULT.one("CustomResourceDefinition", "pretrainjobs.perigee.dev");
    assertThat(installed.path("spec")).isEqualTo(committed.path("spec"));
    assertThat(installed.at("/metadata/annotations/helm.sh~1resource-policy").asText())
        .isEqualTo("keep");
    JsonNode passing =
        Rendered.with("crds: {keep: false}")
            .one("CustomResourceDefinition", "pretrainjobs.perigee.dev");
    assertThat(passing.at("/metadata/annotations").isMissingNode()).isTrue();
    assertThat(Rendered.with("crds: {install: false}").all("CustomResourceDefinition")).isEmpty();
  }

  @Test
  void whatArtifactHubIsToldIsInTheChart() throws IOException {
    JsonNode chart = Rendered.YAML.readTree(Path.of("Chart.yaml").toFile());
    JsonNode crd = DEFAULT.one("CustomResourceDefinition", "pretrainjobs.perigee.dev");
    JsonNode told = annotation(chart, "crds").get(0);
    assertThat(told.path("name")).isEqualTo(crd.at("/metadata/name"));
    assertThat(told.path("kind")).isEqualTo(crd.at("/spec/names/kind"));
    assertThat(told.path("version")).isEqualTo(crd.at("/spec/versions/0/name"));
    assertThat(annotation(chart, "crds")).hasSameSizeAs(DEFAULT.all("CustomResourceDefinition"));
    JsonNode example = annotation(chart, "crdsExamples").get(0);
    assertThat(example.path("kind")).isEqualTo(crd.at("/spec/names/kind"));
    assertThat(example.path("apiVersion").asText()).isEqualTo("perigee.dev/v1alpha1");
    String operator =
        DEFAULT.one("Deployment", "perigee").at("/spec/template/spec/containers/0/image").asText();
    assertThat(annotation(chart, "images"))
        .extracting(image -> image.path("image").asText())
        .allSatisfy(
            image ->
                assertThat(
                        image.equals(operator)
                            || environment(DEFAULT).contains("PERIGEE_TRAINER_IMAGE=" + image))
                    .as(image)
                    .isTrue())
        .hasSize(2);
  }

  private static JsonNode annotation(JsonNode chart, String name) throws IOException {
    return Rendered.YAML.readTree(
        chart.path("annotations").path("artifacthub.io/" + name).asText());
  }

  private static List<Rights> rules(JsonNode role) {
    List<Rights> rights = new ArrayList<>();
    for (JsonNode rule : role.path("rules")) {
      for (JsonNode group : rule.path("apiGroups")) {
        for (JsonNode resource : rule.path("resources")) {
          rights.add(
              new Rights(
                  group.asText(),
                  resource.asText(),
                  StreamSupport.stream(rule.path("verbs").spliterator(), false)
                      .map(JsonNode::asText)
                      .toList()));
        }
      }
    }
    assertThat(rights).as("rules of %s", role).isNotEmpty();
    return rights;
  }

  private static void isBound(JsonNode binding) {
    assertThat(binding.at("/roleRef/name").asText()).isEqualTo("perigee");
    assertThat(binding.path("subjects")).hasSize(1);
    assertThat(binding.at("/subjects/0/name").asText()).isEqualTo("perigee");
    assertThat(binding.at("/subjects/0/namespace").asText()).isEqualTo("ops");
  }

  private static List<String> aggregatesTo(JsonNode role) {
    String prefix = "rbac.authorization.k8s.io/aggregate-to-";
    return role.at("/metadata/labels").properties().stream()
        .filter(
            label -> label.getKey().startsWith(prefix) && label.getValue().asText().equals("true"))
        .map(label -> label.getKey().substring(prefix.length()))
        .toList();
  }

  private static List<String> environment(Rendered rendered) {
    return StreamSupport.stream(
            rendered
                .one("Deployment", "perigee")
                .at("/spec/template/spec/containers/0/env")
                .spliterator(),
            false)
        .map(e -> e.path("name").asText() + "=" + e.path("value").asText())
        .toList();
  }
}
