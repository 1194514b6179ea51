package dev.perigee.operator;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import java.io.IOException;
import org.junit.jupiter.api.Test;

class DefinitionsTest {
  private static final String OWN =
      """
      properties:
        spec: {properties: {steps: {type: integer}, seed: {type: integer}}}
        status:
          properties:
            attempt:
              properties: {phase: {type: string, enum: [Loading, Training]}}
            conditions:
              items: {properties: {type: {type: string}, status: {type: string}}}
            restarts: {type: integer}
      """;

  private static JsonNode schema(String yaml) throws IOException {
    return new YAMLMapper().readTree(yaml);
  }

  @Test
  void aDefinitionOfTheSameAgeOrNewerDeclaresEverything() throws IOException {
    assertThat(Definitions.undeclared(schema(OWN), schema(OWN))).isEmpty();
    assertThat(
            Definitions.undeclared(
                schema(OWN),
                schema(OWN.replace("restarts:", "more: {type: string}\n      restarts:"))))
        .isEmpty();
    assertThat(
            Definitions.undeclared(
                schema(OWN), schema(OWN.replace(", enum: [Loading, Training]", ""))))
        .as("any value goes")
        .isEmpty();
  }

  @Test
  void fieldsAndValuesOfTheStatusThatAnOlderOneLacksAreNamed() throws IOException {
    assertThat(
            Definitions.undeclared(
                schema(OWN),
                schema(
                    OWN.replace("restarts:", "disruptions:")
                        .replace("[Loading, Training]", "[Loading]")
                        .replace(", status: {type: string}", ""))))
        .containsExactly(
            "status.attempt.phase: Training", "status.conditions[].status", "status.restarts");
    assertThat(Definitions.undeclared(schema(OWN), schema("properties: {spec: {}}")))
        .containsExactly("status");
  }

  /** What the specification lacks is told to whoever writes it, by the API server. */
  @Test
  void theSpecificationIsNotCompared() throws IOException {
    assertThat(
            Definitions.undeclared(schema(OWN), schema(OWN.replace(", seed: {type: integer}", ""))))
        .isEmpty();
  }
}
