package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;
import io.fabric8.kubernetes.api.model.EnvVar;
import io.fabric8.kubernetes.api.model.Toleration;
import java.util.List;
import java.util.Map;

/** What is passed through to the job's pods as it is. */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "!has(self.labels) || !self.labels.exists(k, k.startsWith('perigee.dev/'))",
    message = "podOverrides.labels: keys that begin with perigee.dev/ are the operator's own",
    fieldPath = ".labels")
@ValidationRule(
    value = "!has(self.annotations) || !self.annotations.exists(k, k.startsWith('perigee.dev/'))",
    message = "podOverrides.annotations: keys that begin with perigee.dev/ are the operator's own",
    fieldPath = ".annotations")
@ValidationRule(
    value = "!has(self.env) || !self.env.exists(e, e.name.startsWith('PERIGEE_'))",
    message = "podOverrides.env: names that begin with PERIGEE_ are the operator's own",
    fieldPath = ".env")
public record PodOverrides(
    @JsonPropertyDescription("Labels added to the pods.") Map<String, String> labels,
    @JsonPropertyDescription("Annotations added to the pods.") Map<String, String> annotations,
    @JsonPropertyDescription("Environment variables added to the program.") List<EnvVar> env,
    @JsonPropertyDescription("Labels that a node must have.") Map<String, String> nodeSelector,
    @JsonPropertyDescription("Taints that the pods tolerate.") List<Toleration> tolerations,
    @JsonPropertyDescription("ServiceAccount of the pods. They need no rights of their own.")
        @Size(min = 1, max = 253)
        String serviceAccountName,
    @JsonPropertyDescription("PriorityClass of the pods.") @Size(min = 1, max = 253)
        String priorityClassName,
    @JsonPropertyDescription("RuntimeClass of the pods.") @Size(min = 1, max = 253)
        String runtimeClassName,
    @JsonPropertyDescription("Scheduler of the pods.") @Size(min = 1, max = 253)
        String schedulerName,
    @JsonPropertyDescription("Secrets with the credentials of the image's registry.")
        List<SecretName> imagePullSecrets,
    @JsonPropertyDescription(
            "Devices by dynamic resource allocation; the program's container gets every one.")
        @Size(max = 16)
        List<DeviceClaim> resourceClaims,
    @JsonPropertyDescription("User, group and volume group of the pods.") @Default("{}")
        Identity identity,
    @JsonPropertyDescription(
            "Seconds between SIGTERM and SIGKILL: the time to finish a step and save. When absent,"
                + " what two saves and two steps were measured to take, and 600 before the first.")
        @Min(1)
        @Max(86400)
        Long terminationGracePeriodSeconds) {

  /** A Secret by name. */
  public record SecretName(
      @JsonPropertyDescription("Name of the Secret.") @Required @Size(min = 1, max = 253)
          String name) {}

  /** A claim of devices: one that all pods share, or a template from which each gets its own. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  @ValidationRule(
      value = "has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
      message =
          "podOverrides.resourceClaims: give exactly one of resourceClaimName and"
              + " resourceClaimTemplateName")
  public record DeviceClaim(
      @JsonPropertyDescription("Names the claim within the pod.") @Required @Size(min = 1, max = 63)
          String name,
      @JsonPropertyDescription("A ResourceClaim in the job's namespace, shared by all pods.")
          @Size(min = 1, max = 253)
          String resourceClaimName,
      @JsonPropertyDescription(
              "A ResourceClaimTemplate in the job's namespace; each pod gets a claim of its own.")
          @Size(min = 1, max = 253)
          String resourceClaimTemplateName) {}

  /** Who the program runs as; never root. */
  public record Identity(
      @JsonPropertyDescription("User id of the program.")
          @Default("65532")
          @Min(1)
          @Max(4294967294L)
          Long user,
      @JsonPropertyDescription("Group id of the program.")
          @Default("65532")
          @Min(1)
          @Max(4294967294L)
          Long group,
      @JsonPropertyDescription("Group id that volumes are made writable for.")
          @Default("65532")
          @Min(1)
          @Max(4294967294L)
          Long volumeGroup) {}
}
