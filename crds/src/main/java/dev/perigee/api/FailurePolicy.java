package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import dev.perigee.run.ExitCode;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Required;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;
import java.util.List;

/**
 * What to do when a gang breaks. The first rule that matches decides; without one, a bad
 * configuration and corrupt data fail the job, disruptions restart it without counting, and
 * everything else restarts it.
 */
public record FailurePolicy(
    @JsonPropertyDescription(
            "Restarts from the last durable checkpoint before the job fails. Disruptions do not"
                + " count.")
        @Default("10")
        @Min(0)
        @Max(1000000)
        Integer maxRestarts,
    @JsonPropertyDescription(
            "Wait before the first counted restart. It doubles with each further one, up to"
                + " maxBackoffSeconds.")
        @Default("1")
        @Min(0)
        @Max(86400)
        Integer backoffSeconds,
    @JsonPropertyDescription("Longest wait before a restart.") @Default("300") @Min(0) @Max(86400)
        Integer maxBackoffSeconds,
    @JsonPropertyDescription("Rules, tried in order before the built-in ones.")
        @Default("[]")
        @Size(max = 32)
        List<Rule> rules) {

  /** What a rule does. */
  public enum Action {
    /** The job fails at once. */
    Fail,
    /** The gang restarts; it counts against maxRestarts. */
    Restart,
    /** The gang restarts; it does not count. */
    RestartWithoutCounting
  }

  /** Meanings of exit codes that a rule can name. */
  public enum ExitMeaning {
    Internal(ExitCode.INTERNAL),
    BadConfig(ExitCode.BAD_CONFIG),
    CorruptData(ExitCode.CORRUPT_DATA),
    LostPeer(ExitCode.LOST_PEER),
    OutOfMemory(ExitCode.OUT_OF_MEMORY),
    Storage(ExitCode.STORAGE),
    Stopped(ExitCode.STOPPED);

    private final ExitCode exitCode;

    ExitMeaning(ExitCode exitCode) {
      this.exitCode = exitCode;
    }

    /** The exit code of the contract. */
    public ExitCode exitCode() {
      return exitCode;
    }
  }

  /** Reasons of a pod's end that a rule can name. */
  public enum PodReason {
    /** The kernel killed the container for memory. */
    OOMKilled,
    /** The kubelet or the API evicted the pod. */
    Evicted,
    /** A scheduler preempted the pod. */
    Preempted,
    /** The node was lost or shut down. */
    NodeLost,
    /** Somebody deleted the pod. */
    Deleted
  }

  /** One rule. It matches when any of its lists names what happened. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  @ValidationRule(
      value = "has(self.exitCodes) || has(self.exitMeanings) || has(self.podReasons)",
      message =
          "failurePolicy.rules: a rule needs exitCodes, exitMeanings or podReasons to match on")
  public record Rule(
      @JsonPropertyDescription("What to do.") @Required Action action,
      @JsonPropertyDescription("Exit codes, 1 to 255; 137 is a kill.") @Size(min = 1, max = 64)
          List<@Min(1) @Max(255) Integer> exitCodes,
      @JsonPropertyDescription("Exit codes by their meaning.") @Size(min = 1, max = 16)
          List<ExitMeaning> exitMeanings,
      @JsonPropertyDescription("Reasons of a pod's end.") @Size(min = 1, max = 16)
          List<PodReason> podReasons) {}
}
