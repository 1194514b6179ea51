package dev.perigee.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.cli.cluster.api.Json;
import java.util.Locale;
import java.util.Optional;
import java.util.StringJoiner;

/**
 * A job as a person wants to see it.
 *
 * @param namespace the job's namespace
 * @param name the job's name
 * @param status what the operator says of it
 */
record JobView(String namespace, String name, PretrainJobStatus status) {
  private static final ObjectMapper STATUS =
      new ObjectMapper().configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);

  /** How a job ended. */
  enum Outcome {
    Complete,
    Failed
  }

  /** The view of a PretrainJob object. */
  static JobView of(JsonNode job) {
    try {
      PretrainJobStatus status =
          job.path("status").isObject()
              ? STATUS.treeToValue(job.path("status"), PretrainJobStatus.class)
              : PretrainJobStatus.EMPTY;
      return new JobView(
          Json.text(job, "metadata", "namespace"), Json.text(job, "metadata", "name"), status);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("the operator wrote a status that it cannot read", e);
    }
  }

  /**
   * How the job ended, empty while it has not. A plan that cannot work counts as failed: it stays
   * so until someone changes the manifest.
   */
  Optional<Outcome> outcome() {
    if (status.holds(ConditionType.Complete)) {
      return Optional.of(Outcome.Complete);
    }
    return status.holds(ConditionType.Failed) || status.holds(ConditionType.Stalled)
        ? Optional.of(Outcome.Failed)
        : Optional.empty();
  }

  /** Why the job is as it is. */
  Optional<Condition> why() {
    for (ConditionType type : new ConditionType[] {ConditionType.Failed, ConditionType.Stalled}) {
      if (status.holds(type)) {
        return status.condition(type);
      }
    }
    return status.condition(ConditionType.Ready);
  }

  /** One word for what it does now. */
  String doing() {
    return why().map(Condition::reason).orElse("Pending");
  }

  /** The numbers of the last step, on one line; empty before the first. */
  String numbers() {
    PretrainJobStatus.Progress p = status.progress();
    if (p == null || p.step() == null) {
      return "";
    }
    StringJoiner line = new StringJoiner("  ");
    line.add("step " + p.step() + "/" + p.totalSteps());
    if (p.loss() != null) {
      line.add(String.format(Locale.ROOT, "loss %.4f", p.loss()));
    }
    if (p.tokensPerSecond() != null) {
      line.add(String.format(Locale.ROOT, "%,.0f tokens/s", p.tokensPerSecond()));
    }
    if (p.maxQkLogit() != null) {
      line.add(String.format(Locale.ROOT, "max QK %.1f", p.maxQkLogit()));
    }
    if (p.clippedHeads() != null) {
      line.add("clipped " + p.clippedHeads());
    }
    return line.toString();
  }

  /** How much is done, 0 to 1. */
  double fraction() {
    PretrainJobStatus.Progress p = status.progress();
    return p == null || p.step() == null || p.totalSteps() == null || p.totalSteps() == 0
        ? 0
        : (double) p.step() / p.totalSteps();
  }

  /** Its name, with the namespace when that is not the default one. */
  String title() {
    return namespace.equals("default") ? name : namespace + "/" + name;
  }
}
