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
 * configuration, corrupt data and pods that no node takes or whose image cannot be had in time fail
 * the job, disruptions restart it without counting, and everything else restarts it.
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
        List<Rule> rules,
    @JsonPropertyDescription("When a gang that is up but does nothing counts as hanging.")
        @Default("{}")
        Hang hang,
    @JsonPropertyDescription("How long each phase of a start may take.") @Default("{}")
        Deadlines deadlines,
    @JsonPropertyDescription(
            "Types of node conditions that break a gang when they are True on a node of one of its"
                + " pods, for example those of a GPU health monitor. Such a restart counts.")
        @Default("[]")
        @Size(max = 32)
        List<@Size(min = 1, max = 316) String> nodeConditions,
    @JsonPropertyDescription(
            "Recreate: a restart makes all pods anew. InPlace: only what broke is made anew; the"
                + " containers of the other pods start again where they are. It needs a Kubernetes"
                + " that restarts containers by their exit code (1.35), and falls back to Recreate"
                + " where it does not.")
        @Default("Recreate")
        RestartMode restart,
    @JsonPropertyDescription(
            "Pods beyond the gang's own that wait, started and with the resources of any other, to"
                + " take the place of one that is lost: the restart does not wait for a new pod"
                + " then. They need restart InPlace.")
        @Default("0")
        @Min(0)
        @Max(64)
        Integer spares) {
  public FailurePolicy {
    spares = spares == null ? Integer.valueOf(0) : spares; // where the definitions are older
  }

  /** What a restart does with pods that are well. */
  public enum RestartMode {
    /** Makes them anew. */
    Recreate,
    /** Keeps them and starts their containers again. */
    InPlace
  }

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

  /** What happened to a pod or its gang, other than that a program ended by itself. */
  public enum PodReason {
    /** The kernel killed the container for memory. */
    OOMKilled,
    /** The kubelet or the API evicted the pod. */
    Evicted,
    /** A scheduler preempted the pod. */
    Preempted,
    /** The gang's entry at its queue was deactivated. */
    Deactivated,
    /** The node was lost or shut down. */
    NodeLost,
    /** The pod's node turned it away before any container of it ran. */
    Rejected,
    /** Somebody deleted the pod. */
    Deleted,
    /** The pod's node has one of {@code failurePolicy.nodeConditions}. */
    NodeCondition,
    /** The programs run but no longer get on. */
    Hang,
    /** Pods were not admitted in time. */
    AdmissionDeadline,
    /** No node took a pod in time. */
    SchedulingDeadline,
    /** A container did not start in time, mostly because of its image. */
    ImagePullDeadline,
    /** Peers did not meet in time. */
    RendezvousDeadline,
    /** Data and weights were not read in time. */
    LoadingDeadline,
    /** The first step was not done in time. */
    FirstStepDeadline,
    /** The queue waited too long for all pods to be ready. */
    ReadyDeadline
  }

  /**
   * When a gang hangs: nothing got on for so long. A save counts with its own measured time in
   * place of a step's.
   */
  public record Hang(
      @JsonPropertyDescription("So many times the median step.") @Default("10") @Min(2) @Max(10000)
          Integer medianSteps,
      @JsonPropertyDescription("And at least so long.") @Default("300") @Min(1) @Max(604800)
          Integer minSeconds) {}

  /** Longest times, each from the end of the phase before; absent for no limit. */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  public record Deadlines(
      @JsonPropertyDescription(
              "Until a queue or quota lets the pods in; absent for no limit, because queues may"
                  + " take days.")
          @Min(1)
          @Max(31536000)
          Integer admissionSeconds,
      @JsonPropertyDescription("Until every pod has a node.")
          @Default("86400")
          @Min(1)
          @Max(31536000)
          Integer schedulingSeconds,
      @JsonPropertyDescription("Until every container runs, mostly for pulling its image.")
          @Default("1800")
          @Min(1)
          @Max(31536000)
          Integer imagePullSeconds,
      @JsonPropertyDescription("Until all peers have met.") @Default("10800") @Min(1) @Max(31536000)
          Integer rendezvousSeconds,
      @JsonPropertyDescription("Until data and weights are read.")
          @Default("7200")
          @Min(1)
          @Max(31536000)
          Integer loadingSeconds,
      @JsonPropertyDescription("Until the first step is done.")
          @Default("3600")
          @Min(1)
          @Max(31536000)
          Integer firstStepSeconds) {}

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
      @JsonPropertyDescription("What happened to a pod, other than that its program ended.")
          @Size(min = 1, max = 16)
          List<PodReason> podReasons) {}
}
