package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.toy;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError.Cause;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SchemaValidatorTest {
  private final Schema schema = ToyCrd.type().schema();

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          {}                            | spec.size: Required value
          {size: "4"}                   | spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"
          {size: 4.5}                   | spec.size: Invalid value: "number": spec.size in body must be of type integer: "number"
          {size: 99999999999999999999} | spec.size: Invalid value: "number": spec.size in body must be of type integer: "number"
          {size: 1e20}                  | spec.size: Invalid value: "number": spec.size in body must be of type integer: "number"
          {size: 0}                     | spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1
          {size: 101}                   | spec.size: Invalid value: 101: spec.size in body should be less than or equal to 100
          {size: 4, weight: 0}          | spec.weight: Invalid value: 0: spec.weight in body should be greater than 0
          {size: 4, color: green}       | spec.color: Unsupported value: "green": supported values: "red", "blue"
          {size: 4, label: a1}          | spec.label: Invalid value: "a1": spec.label in body should match '^[a-z]+$'
          {size: 4, label: a}           | spec.label: Invalid value: "a": spec.label in body should be at least 2 chars long
          {size: 4, label: abcdefghi}   | spec.label: Too long: may not be more than 8 bytes
          {size: 4, port: true}         | spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"
          {size: 4, tags: [a, b, a]}    | spec.tags[2]: Duplicate value: "a"
          {size: 4, tags: [a, b, c, d]} | spec.tags: Too many: 4: must have at most 3 items
          {size: 4, limits: {a: x}}     | spec.limits.a: Invalid value: "string": spec.limits.a in body must be of type integer: "string"
          {size: 4, parts: [{name: x}, {name: x}]} | spec.parts[1]: Duplicate value: {"name":"x"}
          {size: 4, parts: [{count: 1}]} | spec.parts[0].name: Required value
          """)
  void saysWhatIsWrongInTheWordsOfTheRealServer(String spec, String expected) {
    List<Cause> causes = SchemaValidator.validate(schema, toy("a", spec));

    assertThat(causes).extracting(c -> c.field() + ": " + c.message()).containsExactly(expected);
  }

  @Test
  void takesWhatHoldsToTheSchema() {
    ObjectNode toy =
        toy(
            "a",
            "{size: 4.0, weight: 1, port: http, note: null, limits: {a: 1}, free: {b: [1]}, tags:"
                + " [x]}");

    assertThat(SchemaValidator.validate(schema, toy)).isEmpty();
  }

  @Test
  void prunesUnknownFieldsAndNamesThem() {
    ObjectNode toy = toy("a", "{size: 4, foo: 1, free: {any: 1}, parts: [{name: x, bar: 2}]}");

    List<String> unknown = SchemaValidator.prune(schema, toy);

    assertThat(unknown).containsExactlyInAnyOrder("spec.foo", "spec.parts[0].bar");
    assertThat(toy.path("spec"))
        .isEqualTo(toy("a", "{size: 4, free: {any: 1}, parts: [{name: x}]}").path("spec"));
  }

  @Test
  void setsDefaultsWithinWhatIsPresent() {
    ObjectNode toy = toy("a", "{size: 4, parts: [{name: x}, {name: y, count: 1}]}");

    SchemaValidator.setDefaults(schema, toy);

    assertThat(toy.path("spec"))
        .isEqualTo(
            toy("a", "{size: 4, parts: [{name: x, count: 3}, {name: y, count: 1}], color: red}")
                .path("spec"));
  }

  @Test
  void dropsNullsWhereNullIsNoValue() {
    ObjectNode toy = toy("a", "{size: 4, color: null, note: null}");

    SchemaValidator.prune(schema, toy);

    assertThat(toy.path("spec").has("color")).isFalse();
    assertThat(toy.path("spec").has("note")).isTrue();
  }
}
