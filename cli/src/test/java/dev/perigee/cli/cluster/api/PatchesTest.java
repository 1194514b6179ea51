package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.yaml;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PatchesTest {
  private final Schema pod = new ResourceCatalog().core("pods").schema();

  @Test
  void aMergePatchMergesObjectsRemovesNullsAndReplacesTheRest() {
    JsonNode merged =
        Patches.merge(yaml("{a: {b: 1, c: 2}, d: [1, 2]}"), yaml("{a: {b: null, e: 3}, d: [4]}"));

    assertThat(merged).isEqualTo(yaml("{a: {c: 2, e: 3}, d: [4]}"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          {op: add, path: /c, value: 3}         | {a: 1, b: [1, 2], c: 3}
          {op: add, path: /b/1, value: 9}       | {a: 1, b: [1, 9, 2]}
          {op: add, path: /b/-, value: 9}       | {a: 1, b: [1, 2, 9]}
          {op: remove, path: /b/0}              | {a: 1, b: [2]}
          {op: replace, path: /a, value: x}     | {a: x, b: [1, 2]}
          {op: move, from: /a, path: /c~1d}     | {b: [1, 2], c/d: 1}
          {op: copy, from: /a, path: /b/0}      | {a: 1, b: [1, 1, 2]}
          {op: test, path: /b, value: [1, 2]}   | {a: 1, b: [1, 2]}
          """)
  void aJsonPatchDoesWhatRfc6902Says(String operation, String expected) {
    JsonNode operations = yaml("ops: [" + operation + "]").path("ops");

    assertThat(Patches.json(yaml("{a: 1, b: [1, 2]}"), operations)).isEqualTo(yaml(expected));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{op: test, path: /a, value: 2}",
        "{op: remove, path: /none}",
        "{op: replace, path: /none, value: 1}",
        "{op: add, path: /none/x, value: 1}",
        "{op: add, path: /b/7, value: 1}",
        "{op: fly, path: /a}"
      })
  void aJsonPatchThatDoesNotFitIsRefused(String operation) {
    JsonNode operations = yaml("ops: [" + operation + "]").path("ops");

    assertThatThrownBy(() -> Patches.json(yaml("{a: 1, b: [1, 2]}"), operations))
        .isInstanceOfSatisfying(ApiError.class, e -> assertThat(e.code()).isEqualTo(422));
  }

  @Test
  void aStrategicPatchMergesContainersByName() {
    ObjectNode live =
        yaml(
            "spec: {containers: [{name: a, image: x, env: [{name: E, value: '1'}]}, {name: b, image: y}]}");
    ObjectNode patch =
        yaml(
            "spec: {containers: [{name: a, env: [{name: F, value: '2'}]}, {name: b, $patch: delete}]}");

    assertThat(Patches.strategic(pod, live, patch))
        .isEqualTo(
            yaml(
                "spec: {containers: [{name: a, image: x, env: [{name: E, value: '1'}, {name: F,"
                    + " value: '2'}]}]}"));
  }

  @Test
  void aStrategicPatchDirectsReplacementAndPrimitiveLists() {
    ObjectNode live = yaml("{metadata: {finalizers: [a, b], labels: {x: y}}, spec: {nodeName: n}}");
    ObjectNode patch =
        yaml(
            "{metadata: {$deleteFromPrimitiveList/finalizers: [a], labels: {$patch: replace, z: w}}}");

    assertThat(Patches.strategic(pod, live, patch))
        .isEqualTo(yaml("{metadata: {finalizers: [b], labels: {z: w}}, spec: {nodeName: n}}"));
  }
}
