package dev.perigee.operator.pretrain;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.List;

/** Jobs as the operator gets them: with the defaults of the schema. */
final class Jobs {
  private static final YAMLMapper YAML = new YAMLMapper();
  private static final JsonNode SCHEMA = schema();

  private Jobs() {}

  /** Two pods of two ranks, 100 steps. */
  static PretrainJob small() {
    return parse(
        """
        apiVersion: perigee.dev/v1alpha1
        kind: PretrainJob
        metadata: {name: demo, namespace: lab, uid: u-1, generation: 1}
        spec:
          model: {preset: quickstart}
          data: [{name: sums, builtin: arithmetic}]
          sequenceLength: 128
          batchTokens: 1024
          parallelism: {data: 4, expert: 4, ranksPerPod: 2}
          schedule: {peakLearningRate: 0.001}
          steps: 100
          checkpoints:
            volume: {persistentVolumeClaim: {claimName: runs}}
            intervalSteps: 50
          failurePolicy: {maxRestarts: 2, backoffSeconds: 4}
        """);
  }

  /** The PretrainJobs of a file. */
  static List<PretrainJob> in(Path file) throws IOException {
    try (var documents = YAML.readerFor(JsonNode.class).<JsonNode>readValues(file.toFile())) {
      return documents.readAll().stream()
          .filter(d -> d.path("kind").asText().equals(PretrainJob.KIND))
          .map(Jobs::withDefaults)
          .toList();
    }
  }

  /** One job from YAML. */
  static PretrainJob parse(String yaml) {
    try {
      return withDefaults(YAML.readTree(yaml));
    } catch (IOException e) {
      throw new IllegalArgumentException(e);
    }
  }

  /** The same job with another value somewhere in its specification, given as YAML. */
  static PretrainJob with(PretrainJob job, String pointer, String value) {
    try {
      ObjectNode tree = new ObjectMapper().valueToTree(job);
      int last = pointer.lastIndexOf('/');
      ObjectNode parent = (ObjectNode) tree.at("/spec" + pointer.substring(0, last));
      parent.set(pointer.substring(last + 1), YAML.readTree(value));
      return withDefaults(tree);
    } catch (IOException e) {
      throw new IllegalArgumentException(e);
    }
  }

  /** A status in which somebody has set a condition by hand. */
  static PretrainJobStatus withCondition(PretrainJobStatus status, ConditionType type) {
    ObjectNode tree = new ObjectMapper().valueToTree(status);
    for (JsonNode condition : tree.path("conditions")) {
      if (condition.path("type").asText().equals(type.name())) {
        ((ObjectNode) condition).put("status", "True").put("reason", type.name());
      }
    }
    return status(tree);
  }

  /** A status that somebody has edited by hand, with a JSON merge patch (RFC 7396). */
  static PretrainJobStatus edited(PretrainJobStatus status, String patch) {
    try {
      JsonNode tree = new ObjectMapper().valueToTree(status);
      merge((ObjectNode) tree, YAML.readTree(patch));
      return status(tree);
    } catch (IOException e) {
      throw new IllegalArgumentException(e);
    }
  }

  private static void merge(ObjectNode target, JsonNode patch) {
    for (var field : patch.properties()) {
      if (field.getValue().isNull()) {
        target.remove(field.getKey());
      } else if (field.getValue().isObject()) {
        merge(target.withObjectProperty(field.getKey()), field.getValue());
      } else {
        target.set(field.getKey(), field.getValue());
      }
    }
  }

  private static PretrainJobStatus status(JsonNode tree) {
    try {
      return new ObjectMapper().treeToValue(tree, PretrainJobStatus.class);
    } catch (IOException e) {
      throw new IllegalArgumentException(e);
    }
  }

  private static PretrainJob withDefaults(JsonNode tree) {
    setDefaults(SCHEMA, tree);
    try {
      return new ObjectMapper().treeToValue(tree, PretrainJob.class);
    } catch (IOException e) {
      throw new IllegalArgumentException(e);
    }
  }

  private static void setDefaults(JsonNode schema, JsonNode value) {
    if (value instanceof ObjectNode object) {
      for (var property : schema.path("properties").properties()) {
        JsonNode byDefault = property.getValue().get("default");
        if (byDefault != null && !object.has(property.getKey())) {
          object.set(property.getKey(), byDefault.deepCopy());
        }
        if (object.has(property.getKey())) {
          setDefaults(property.getValue(), object.get(property.getKey()));
        }
      }
    } else if (value.isArray()) {
      value.forEach(item -> setDefaults(schema.path("items"), item));
    }
  }

  private static JsonNode schema() {
    try (InputStream crd =
        PretrainJob.class.getResourceAsStream(
            "/META-INF/perigee/crds/pretrainjobs.perigee.dev.yaml")) {
      return YAML.readTree(crd).at("/spec/versions/0/schema/openAPIV3Schema");
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /** What rank 0 says at a step of a hundred. */
  static RunStatus said(RunStatus.Phase phase, long step, long durable, double loss, String at) {
    return new RunStatus(
        phase,
        null,
        step,
        durable,
        100,
        step * 1024,
        loss,
        1.0,
        1e-3,
        5000.0,
        12.0,
        0,
        1.2,
        "/perigee/checkpoints/demo/step",
        null,
        at,
        0.5,
        2.0,
        "d1",
        0.1);
  }
}
