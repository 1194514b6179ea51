package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.yaml;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SelectorsTest {
  private static final Set<String> FIELDS =
      Set.of("metadata.name", "spec.nodeName", "status.phase");

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
    assertThat(Selectors.of(selector, null, Set.of()).test(object)).isEqualTo(chosen);
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
  void fieldSelectorsCompareTheFieldsOfTheKind(String selector, boolean chosen) {
    assertThat(Selectors.of(null, selector, FIELDS).test(object)).isEqualTo(chosen);
  }

  @Test
  void aSelectorThatCannotBeReadIsABadRequest() {
    assertThatThrownBy(() -> Selectors.of("a=b=c d", null, Set.of())).isInstanceOf(ApiError.class);
    assertThatThrownBy(() -> Selectors.of("a>3", null, Set.of())).isInstanceOf(ApiError.class);
  }

  /** By a field that none has, {@code !=} would choose all objects, for example for deletion. */
  @Test
  void aFieldThatTheKindCannotBeChosenByIsABadRequest() {
    assertThatThrownBy(() -> Selectors.of(null, "spec.nodename!=a", FIELDS))
        .isInstanceOf(ApiError.class)
        .hasMessage(
            "field label not supported: spec.nodename (supported: metadata.name, spec.nodeName,"
                + " status.phase)");
  }
}
