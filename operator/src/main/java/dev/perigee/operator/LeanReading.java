package dev.perigee.operator;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.fabric8.kubernetes.api.model.Container;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.PodSpec;
import io.fabric8.kubernetes.client.utils.KubernetesSerialization;

/**
 * How the operator reads what it watches: without what it never looks at. Of ten thousand pods that
 * is most of each. What it writes is written in full.
 */
final class LeanReading {
  private LeanReading() {}

  /** For a client that only the operator uses. */
  static KubernetesSerialization serialization() {
    return new KubernetesSerialization(
        new ObjectMapper()
            // One job of a newer definition that could not be read would hide all others.
            .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
            .enable(DeserializationFeature.READ_UNKNOWN_ENUM_VALUES_AS_NULL)
            .addMixIn(ObjectMeta.class, Metadata.class)
            .addMixIn(PodSpec.class, Pods.class)
            .addMixIn(Container.class, Containers.class),
        true);
  }

  @JsonIgnoreProperties(value = "managedFields", allowGetters = true)
  private interface Metadata {}

  @JsonIgnoreProperties(
      value = {
        "affinity",
        "initContainers",
        "securityContext",
        "tolerations",
        "topologySpreadConstraints",
        "volumes"
      },
      allowGetters = true)
  private interface Pods {}

  /** Its rules for starting again are looked at. */
  @JsonIgnoreProperties(
      value = {
        "args",
        "command",
        "env",
        "envFrom",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "ports",
        "readinessProbe",
        "resources",
        "securityContext",
        "startupProbe",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "volumeMounts",
        "workingDir"
      },
      allowGetters = true)
  private interface Containers {}
}
