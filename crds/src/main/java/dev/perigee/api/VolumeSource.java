package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Pattern;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;

/** Where files lie: a claim, or a folder of the node. */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "has(self.persistentVolumeClaim) != has(self.hostPath)",
    message = "volume: give exactly one of persistentVolumeClaim and hostPath")
public record VolumeSource(
    @JsonPropertyDescription(
            "A claim in the job's namespace. Pods on several nodes need one that can be mounted on"
                + " all of them.")
        ClaimSource persistentVolumeClaim,
    @JsonPropertyDescription("A folder of the node, for clusters of one node.")
        HostPathSource hostPath) {

  /** A PersistentVolumeClaim by name. */
  public record ClaimSource(
      @JsonPropertyDescription("Name of the PersistentVolumeClaim.")
          @Required
          @Size(min = 1, max = 253)
          String claimName) {}

  /** A folder of the node. */
  public record HostPathSource(
      @JsonPropertyDescription("Absolute path of the folder on the node.")
          @Required
          @Pattern("^/")
          @Size(min = 1, max = 4096)
          String path) {}
}
