package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.yaml;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;

class PatchesTest {
  private final Schema pod = new ResourceCatalog().core("pods").schema();

  @Test
  void aMergePatchMergesObjectsRemovesNullsAndReplacesTheRest() {
    JsonNode merged = Patches.merge(yaml("{a: {b: 1, c: 2}, d: [1, 2]}"), yaml("{a: {b: null, e: 3}, d: [4]}"));

    assertThat(merged).isEqualTo(yaml("{a: {c: 2, e: 3}, d: [4]}"));
  }

  @Test
  void aJsonPatchThatDoesNotFitIsABadRequest() {
    JsonNode operations = yaml("ops: [{op: test, path: /a, value: 2}]").path("ops");

    assertThatThrownBy(() -> Patches.json(yaml("a: 1"), operations))
        .isInstanceOfSatisfying(ApiError.class, e -> assertThat(e.code()).isEqualTo(400));
  }

  @Test
  void aStrategicPatchMergesContainersByName() {
    ObjectNode live =
        yaml("spec: {containers: [{name: a, image: x, env: [{name: E, value: '1'}]}, {name: b, image: y}]}");
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
        .isEqualTo(
            yaml("{metadata: {finalizers: [b], labels: {z: w}}, spec: {nodeName: n}}"));
  }
}
