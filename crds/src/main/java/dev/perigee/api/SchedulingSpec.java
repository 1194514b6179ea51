package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Pattern;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;

/** Who lets the gang in as a whole, and how its pods are placed. */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "self.adapter != 'Kueue' || has(self.queue)",
    message =
        "scheduling.queue: must be given with adapter Kueue, because Kueue leaves pods without a"
            + " queue alone",
    fieldPath = ".queue")
@ValidationRule(
    value = "!has(self.queue) || !(self.adapter in ['None', 'PodGroup'])",
    message =
        "scheduling.queue: only Kueue and Volcano have queues; leave it out or use one of these"
            + " adapters",
    fieldPath = ".queue")
public record SchedulingSpec(
    @JsonPropertyDescription(
            "Who lets the gang in as a whole. Auto: with a queue Kueue, else Volcano; without one"
                + " the scheduler's own PodGroup; what the API server does not serve is passed"
                + " over. None: pods are scheduled one by one. Kueue: a group of plain pods, gated"
                + " until it is admitted. Volcano: a PodGroup of Volcano. PodGroup: that of"
                + " Kubernetes (scheduling.k8s.io).")
        @Default("Auto")
        Adapter adapter,
    @JsonPropertyDescription("LocalQueue of Kueue, in the job's namespace, or queue of Volcano.")
        @Size(min = 1, max = 63)
        @Pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
        String queue,
    @JsonPropertyDescription(
            "Keeps the pods of an expert group, which exchange tokens in every layer, close"
                + " together; absent for no wish.")
        ExpertGroups expertGroups) {

  /** {@code adapter: Auto}, written out because rules run on it before defaults are filled in. */
  static final String AUTO = "{\"adapter\": \"Auto\"}";

  /** Who lets a gang in. */
  public enum Adapter {
    Auto,
    None,
    Kueue,
    Volcano,
    PodGroup
  }

  /** Where expert groups go. */
  public record ExpertGroups(
      @JsonPropertyDescription(
              "Node label whose value all nodes of a group share: kubernetes.io/hostname for one"
                  + " host, or the label of an NVLink domain or a rack.")
          @Required
          @Size(min = 1, max = 317)
          @Pattern(
              "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
          String topologyKey,
      @JsonPropertyDescription(
              "Required: a group that fits into no domain waits. Preferred: it starts anyway.")
          @Default("Required")
          Mode mode) {

    /** How much it matters. */
    public enum Mode {
      Required,
      Preferred
    }
  }
}
