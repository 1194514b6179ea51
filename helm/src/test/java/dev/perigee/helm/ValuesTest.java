package dev.perigee.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Values that nobody should give, or that are taken away: said by name, or harmless. */
class ValuesTest {
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "replicas: 0                          | /replicas",
        "replicas: two                        | /replicas",
        "replica: 2                           | replica",
        "image: {tag: 'a b'}                  | /image/tag",
        "image: {digest: 'sha256:12'}         | /image/digest",
        "image: {pullPolicy: Sometimes}       | /image/pullPolicy",
        "scope: Galaxy                        | /scope",
        "namespaces: [red]                    | /scope",
        "{scope: Namespaces, namespaces: [A]} | /namespaces/0",
        "resources: {limit: {memory: 1Gi}}    | limit",
        "networkPolicy: {apiServerPorts: []}  | /networkPolicy/apiServerPorts",
        "networkPolicy: {gangs: {metricsFrom: yes}} | /networkPolicy/gangs/metricsFrom",
        "metrics: {serviceMonitor: {interval: often}} | /metrics/serviceMonitor/interval",
        "metrics: null                           | metrics",
        "metrics: {podMonitor: null}             | podMonitor",
        "networkPolicy: {gangs: null}            | gangs",
        "crds: null                              | crds",
        "image: {repository: 'r.example/op:1'}   | /image/repository",
        "trainer: {image: {repository: 'a:1'}}   | /trainer/image/repository",
        "image: {repository: r.example/Ops/op}   | /image/repository",
        "trainer: {image: {repository: 'r.example/{op'}} | /trainer/image/repository",
        "namespaces: [red, red]                  | /namespaces",
        "podLabels: {app.kubernetes.io/name: x}  | /podLabels",
        "podLabels: {team: 'a b'}                | /podLabels/team",
        "podLabels: {team: 1}                    | /podLabels/team",
        "nodeSelector: {'a b': c}                | /nodeSelector",
        "metrics: {podMonitor: {labels: {helm.sh/chart: x}}} | /metrics/podMonitor/labels",
        "metrics: {prometheusRule: {runbookUrl: wiki}} | /metrics/prometheusRule/runbookUrl",
        "metrics: {prometheusRule: {checkpointAgeSeconds: 0}} | checkpointAgeSeconds",
      })
  void aBadValueIsRefusedByName(String values, String named) {
    assertThatThrownBy(() -> Rendered.with(values)).hasMessageContaining(named);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "op",
        "localhost:5000/op",
        "Registry.example:5000/ops/my_op.v2/op--x",
        "10.0.0.1/op",
        "[2001:db8::1]:5000/op"
      })
  void aRepositoryIsTakenAsItIs(String repository) {
    String values = "{image: {repository: '%s', tag: t1}}".formatted(repository);
    JsonNode deployment = Rendered.with(values).one("Deployment", "perigee");
    assertThat(deployment.at("/spec/template/spec/containers/0/image").asText())
        .isEqualTo(repository + ":t1");
  }

  /** What YAML would read as a number or a truth is still a name. */
  @ParameterizedTest
  @ValueSource(strings = {"123", "1e3", "0x10", "true", "null", "on"})
  void aNameThatLooksLikeSomethingElseIsAName(String name, @TempDir Path folder)
      throws IOException {
    String values =
        """
        imagePullSecrets: ["%1$s"]
        priorityClassName: "%1$s"
        scope: Namespaces
        namespaces: ["%1$s"]
        image: {repository: "%1$s"}
        metrics:
          serviceMonitor: {enabled: true}
          podMonitor: {enabled: true}
          prometheusRule: {enabled: true}
        networkPolicy: {gangs: {metricsFrom: [{podSelector: {}}]}}
        """
            .formatted(name);
    Rendered rendered = Rendered.withTests(folder, name, name, values);
    assertThat(rendered.objects()).hasSizeGreaterThan(10);
    for (JsonNode object : rendered.objects()) {
      assertThat(strings(object.path("metadata"))).as("%s", object).isTrue();
      assertThat(strings(object.at("/spec/selector/matchLabels"))).as("%s", object).isTrue();
      assertThat(strings(object.at("/spec/template/metadata"))).as("%s", object).isTrue();
      assertThat(strings(object.path("subjects"))).as("%s", object).isTrue();
    }
    assertThat(rendered.all("Role"))
        .extracting(r -> r.at("/metadata/namespace").asText())
        .containsOnly(name);
    assertThat(rendered.podSpecs())
        .hasSize(3)
        .allSatisfy(
            pod -> {
              assertThat(pod.at("/imagePullSecrets/0/name")).isEqualTo(TextNode.valueOf(name));
              assertThat(pod.path("priorityClassName")).isEqualTo(TextNode.valueOf(name));
            });
  }

  private static boolean strings(JsonNode node) {
    return node.isContainerNode()
        ? StreamSupport.stream(node.spliterator(), false).allMatch(ValuesTest::strings)
        : node.isTextual() || node.isMissingNode();
  }

  /** What can be left empty is left out, and nothing is said of it. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "resources",
        "affinity",
        "tolerations",
        "nodeSelector",
        "podLabels",
        "podAnnotations",
        "imagePullSecrets",
        "namespaces",
        "priorityClassName",
        "serviceAccount.annotations",
        "image.tag",
        "image.digest",
        "trainer.image.tag",
        "networkPolicy.metricsFrom",
        "networkPolicy.gangs.metricsFrom",
        "metrics.serviceMonitor.labels",
        "metrics.podMonitor.labels",
        "metrics.prometheusRule.labels",
        "metrics.prometheusRule.runbookUrl",
        "resources.limits",
        "resources.requests.cpu"
      })
  void aValueThatIsTakenAwayLeavesAChart(String value) {
    String values =
        "{" + value.replace(".", ": {") + ": null" + "}".repeat(value.split("\\.", -1).length);
    JsonNode deployment = Rendered.with(values).one("Deployment", "perigee");
    assertThat(deployment.at("/spec/template/spec/containers/0/name").asText())
        .isEqualTo("operator");
  }
}
