package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.toy;
import static dev.perigee.cli.cluster.api.ToyCrd.yaml;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import org.junit.jupiter.api.Test;

class CelRulesTest {
  private final Schema schema = ToyCrd.type().schema();

  private List<String> broken(ObjectNode toy, ObjectNode old) {
    return CelRules.validate(schema, toy, old).stream()
        .map(c -> c.field() + ": " + c.message())
        .toList();
  }

  @Test
  void aBrokenRuleGivesItsMessageAtItsPath() {
    assertThat(broken(toy("a", "{size: 3, color: red}"), null))
        .containsExactly("spec: Invalid value: size must be even");
  }

  @Test
  void aRuleOnTheOldStateRestsWhenThereIsNone() {
    assertThat(broken(toy("a", "{size: 4, color: blue}"), null)).isEmpty();
  }

  @Test
  void aRuleOnTheOldStateSeesIt() {
    ObjectNode old = toy("a", "{size: 4, color: red}");

    assertThat(broken(toy("a", "{size: 4, color: red}"), old)).isEmpty();
    assertThat(broken(toy("a", "{size: 4, color: blue}"), old))
        .containsExactly("spec.color: Invalid value: color is immutable");
  }

  @Test
  void anIntegerInANumberFieldIsADouble() {
    assertThat(broken(toy("a", "{size: 2, weight: 19}"), null)).isEmpty();
    assertThat(broken(toy("a", "{size: 2, weight: 20}"), null))
        .containsExactly("spec: Invalid value: too heavy for a small one");
  }

  @Test
  void aFieldNamedAsAReservedWordIsWrittenWithUnderscores() {
    Schema reserved =
        new Schema(
            yaml(
                """
                type: object
                properties: {namespace: {type: string}}
                x-kubernetes-validations: [{rule: "self.__namespace__ == 'a'", message: wrong}]
                """));

    assertThat(CelRules.validate(reserved, yaml("namespace: a"), null)).isEmpty();
    assertThat(CelRules.validate(reserved, yaml("namespace: b"), null)).hasSize(1);
  }

  @Test
  void aRuleThatDoesNotCompileIsNamed() {
    Schema bad =
        new Schema(
            yaml(
                """
                type: object
                properties:
                  a: {type: integer, x-kubernetes-validations: [{rule: "self.nope("}]}
                """));

    assertThat(CelRules.compile(bad, "schema"))
        .singleElement()
        .satisfies(
            c -> {
              assertThat(c.field())
                  .isEqualTo("schema.properties[a].x-kubernetes-validations[0].rule");
              assertThat(c.message()).contains("compilation failed");
            });
  }
}
