package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.yaml;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SelectorsTest {
  private final JsonNode object =
      yaml("{metadata: {name: a, labels: {app: x, tier: web}}, status: {phase: Running}}");

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          app=x                      | true
          app==x,tier=web            | true
          app!=x                     | false
          old!=y                     | true
          tier in (web, db)          | true
          tier notin (web),app=x     | false
          old notin (a)              | true
          app                        | true
          !app                       | false
          !old                       | true
          """)
  void labelSelectorsChooseAsKubernetesDoes(String selector, boolean chosen) {
    assertThat(Selectors.of(selector, null).test(object)).isEqualTo(chosen);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          metadata.name=a                      | true
          metadata.name=a,status.phase!=Failed | true
          status.phase=Failed                  | false
          spec.nodeName=                       | true
          """)
  void fieldSelectorsCompareAnyField(String selector, boolean chosen) {
    assertThat(Selectors.of(null, selector).test(object)).isEqualTo(chosen);
  }

  @Test
  void aSelectorThatCannotBeReadIsABadRequest() {
    assertThatThrownBy(() -> Selectors.of("a=b=c d", null)).isInstanceOf(ApiError.class);
  }
}
