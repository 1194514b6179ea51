package dev.perigee.api;

import io.fabric8.kubernetes.api.model.apiextensions.v1.JSONSchemaProps;
import java.util.Map;

/**
 * What {@code kubectl explain} says of fields whose types are Kubernetes' own: the generator takes
 * descriptions from annotations, which those have none of.
 */
final class CoreDescriptions {
  private static final Map<String, String> TOLERATION =
      Map.of(
          "effect",
          "Effect of the taints that are tolerated: NoSchedule, PreferNoSchedule or NoExecute; empty"
              + " for all.",
          "key",
          "Key of the taints; empty for all, with operator Exists.",
          "operator",
          "Exists, or Equal for taints of this value.",
          "tolerationSeconds",
          "How long a pod stays on a node with effect NoExecute; empty for ever.",
          "value",
          "Value of the taints, with operator Equal.");

  private static final Map<String, String> VARIABLE =
      Map.ofEntries(
          Map.entry("name", "Its name."),
          Map.entry("value", "Its value."),
          Map.entry("valueFrom", "Where its value comes from, in place of value."),
          Map.entry("valueFrom.configMapKeyRef", "A key of a ConfigMap of the job's namespace."),
          Map.entry("valueFrom.secretKeyRef", "A key of a Secret of the job's namespace."),
          Map.entry("valueFrom.fieldRef", "A field of the pod, for example spec.nodeName."),
          Map.entry("valueFrom.resourceFieldRef", "A request or limit of the container."),
          Map.entry("valueFrom.fileKeyRef", "A key of a file on a volume of the pod."),
          Map.entry("valueFrom.configMapKeyRef.key", "The key."),
          Map.entry("valueFrom.configMapKeyRef.name", "Name of the ConfigMap."),
          Map.entry("valueFrom.configMapKeyRef.optional", "Whether it may be absent."),
          Map.entry("valueFrom.secretKeyRef.key", "The key."),
          Map.entry("valueFrom.secretKeyRef.name", "Name of the Secret."),
          Map.entry("valueFrom.secretKeyRef.optional", "Whether it may be absent."),
          Map.entry("valueFrom.fieldRef.apiVersion", "Version of the pod's schema; v1."),
          Map.entry("valueFrom.fieldRef.fieldPath", "Path of the field."),
          Map.entry("valueFrom.resourceFieldRef.containerName", "The container; trainer."),
          Map.entry("valueFrom.resourceFieldRef.divisor", "Unit of the value, for example 1Mi."),
          Map.entry("valueFrom.resourceFieldRef.resource", "For example limits.memory."),
          Map.entry("valueFrom.fileKeyRef.key", "The key."),
          Map.entry("valueFrom.fileKeyRef.optional", "Whether it may be absent."),
          Map.entry("valueFrom.fileKeyRef.path", "Path of the file on the volume."),
          Map.entry("valueFrom.fileKeyRef.volumeName", "Name of the volume."));

  private CoreDescriptions() {}

  /**
   * Describes them.
   *
   * @param podOverrides the schema of that field
   */
  static void addTo(JSONSchemaProps podOverrides) {
    describe(podOverrides, "env", VARIABLE);
    describe(podOverrides, "tolerations", TOLERATION);
  }

  private static void describe(
      JSONSchemaProps podOverrides, String list, Map<String, String> descriptions) {
    JSONSchemaProps item = podOverrides.getProperties().get(list).getItems().getSchema();
    descriptions.forEach((path, text) -> CrdGeneration.at(item, path).setDescription(text));
  }
}
