package dev.perigee.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
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
        "priorityClassName"
      })
  void aValueThatIsTakenAwayLeavesAChart(String value) {
    JsonNode deployment = Rendered.with(value + ": null").one("Deployment", "perigee");
    assertThat(deployment.at("/spec/template/spec/containers/0/name").asText())
        .isEqualTo("operator");
  }
}
