package dev.perigee.operator.gang;

import dev.perigee.api.FailurePolicy.PodReason;
import io.fabric8.kubernetes.api.model.ContainerState;
import io.fabric8.kubernetes.api.model.ContainerStateTerminated;
import io.fabric8.kubernetes.api.model.ContainerStateWaiting;
import io.fabric8.kubernetes.api.model.ContainerStatus;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodCondition;
import io.fabric8.kubernetes.api.model.PodSpec;
import io.fabric8.kubernetes.api.model.PodStatus;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * What the operator needs to know of a pod.
 *
 * @param name the pod's name
 * @param uid tells it from a later pod of the same name
 * @param index its index in the gang, -1 when it has none
 * @param generation the start of the gang that it belongs to, 0 for a spare, -1 when its label is
 *     not a number
 * @param gangSize pods of its gang, itself included; -1 when its label is not a number
 * @param shown the start whose addresses its kubelet was last made to show it, 0 for none
 * @param phase where it is in its life
 * @param ready whether it is ready
 * @param deleting whether it is being deleted
 * @param ip its address, null when it has none yet
 * @param grace seconds between SIGTERM and SIGKILL, null when the pod does not say
 * @param binding how it comes to a node
 * @param container how its container comes to run, and to run again
 * @param end how its program ended
 */
public record PodState(
    String name,
    String uid,
    int index,
    int generation,
    int gangSize,
    int shown,
    Phase phase,
    boolean ready,
    boolean deleting,
    String ip,
    Long grace,
    Binding binding,
    Container container,
    End end) {

  /** Name of the container with the program; whoever admits pods may add others. */
  public static final String CONTAINER = "trainer";

  /** Where a pod is in its life. */
  public enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed
  }

  /**
   * How a pod comes to a node.
   *
   * @param gated whether a queue or quota has yet to let it in
   * @param unschedulable why no node takes it, or no queue lets it in, as far as they say; null
   *     when a node did or none was tried
   * @param nodeName the name of its node, null when it has none
   * @param node its node, null when it has none or nodes are not watched
   */
  public record Binding(boolean gated, String unschedulable, String nodeName, NodeState node) {
    /** Reasons of pods for which no node was found wanting: Volcano has one and waits for more. */
    private static final Set<String> NO_FAULT = Set.of("SchedulingGated", "Schedulable");

    private static Binding of(Pod pod, Function<String, Optional<NodeState>> nodes) {
      var spec = Optional.ofNullable(pod.getSpec());
      Optional<String> node = spec.map(PodSpec::getNodeName).filter(name -> !name.isBlank());
      return new Binding(
          node.isEmpty()
              && spec.map(PodSpec::getSchedulingGates).filter(g -> !g.isEmpty()).isPresent(),
          conditions(pod).stream()
              .filter(c -> c.getType().equals("PodScheduled") && c.getStatus().equals("False"))
              .filter(c -> c.getReason() == null || !NO_FAULT.contains(c.getReason()))
              .map(c -> Objects.requireNonNullElse(c.getMessage(), "no node takes the pod"))
              .findFirst()
              .orElse(null),
          node.orElse(null),
          node.flatMap(nodes).orElse(null));
    }

    /** Whether it has a node. */
    public boolean bound() {
      return nodeName != null;
    }
  }

  /**
   * How a pod's container comes to run, and to run again.
   *
   * @param waiting why it waits, for example ImagePullBackOff, null when it does not
   * @param trouble what keeps it from starting, in the kubelet's words; null when nothing is known
   * @param restarts how often it was started again
   * @param waits whether it was started again since the pod was last made part of a start; then the
   *     pod's {@link End} is that of the container before
   * @param returns whether its program has just ended in a way upon which the pod's own rules start
   *     it again; the kubelet says so by leaving the pod's phase at Running
   */
  public record Container(
      String waiting, String trouble, int restarts, boolean waits, boolean returns) {
    /** Reasons for which a container waits that is on its way, or will be started again. */
    private static final Set<String> NO_TROUBLE =
        Set.of("ContainerCreating", "PodInitializing", "CrashLoopBackOff");

    private static Container of(Pod pod) {
      var status = status(pod);
      var waiting = status.map(ContainerStatus::getState).map(ContainerState::getWaiting);
      return new Container(
          waiting.map(ContainerStateWaiting::getReason).orElse(null),
          waiting.map(Container::trouble).orElse(null),
          restarts(status),
          before(pod).isPresent(),
          "Running".equals(podPhase(pod)) && now(pod).map(end -> returns(pod, end)).orElse(false));
    }

    private static String trouble(ContainerStateWaiting waiting) {
      return waiting.getReason() == null || NO_TROUBLE.contains(waiting.getReason())
          ? null
          : Stream.of(waiting.getReason(), waiting.getMessage())
              .filter(Objects::nonNull)
              .filter(said -> !said.isBlank())
              .collect(Collectors.joining(": "));
    }

    private Container troubled(String because) {
      return new Container(waiting, because, restarts, waits, returns);
    }

    /** The end of its program, while it has not been started again. */
    private static Optional<ContainerStateTerminated> now(Pod pod) {
      return status(pod).map(ContainerStatus::getState).map(ContainerState::getTerminated);
    }

    /** The end before it was started again. */
    private static Optional<ContainerStateTerminated> before(Pod pod) {
      return status(pod)
          .filter(c -> restarts(Optional.of(c)) > GangLabels.adoptedRestarts(pod))
          .filter(c -> now(pod).isEmpty())
          .map(ContainerStatus::getLastState)
          .map(ContainerState::getTerminated);
    }

    /** Whether a container of the pod ever ran, one that prepares it included. */
    private static boolean ran(Pod pod) {
      return Optional.ofNullable(pod.getStatus()).stream()
          .flatMap(
              status ->
                  Stream.concat(
                      status.getInitContainerStatuses().stream(),
                      status.getContainerStatuses().stream()))
          .anyMatch(
              c ->
                  restarts(Optional.of(c)) > 0
                      || (c.getState() != null
                          && (c.getState().getRunning() != null
                              || c.getState().getTerminated() != null)));
    }

    private static int restarts(Optional<ContainerStatus> status) {
      return status.map(ContainerStatus::getRestartCount).orElse(0);
    }

    private static Optional<ContainerStatus> status(Pod pod) {
      List<ContainerStatus> all =
          Optional.ofNullable(pod.getStatus())
              .map(PodStatus::getContainerStatuses)
              .orElse(List.of());
      return all.stream()
          .filter(c -> CONTAINER.equals(c.getName()))
          .findFirst()
          .or(() -> all.stream().findFirst());
    }

    private static boolean returns(Pod pod, ContainerStateTerminated end) {
      return Optional.ofNullable(pod.getSpec()).stream()
          .flatMap(spec -> spec.getContainers().stream())
          .flatMap(container -> container.getRestartPolicyRules().stream())
          .filter(rule -> "Restart".equals(rule.getAction()) && rule.getExitCodes() != null)
          .anyMatch(
              rule ->
                  "In".equals(rule.getExitCodes().getOperator())
                      && rule.getExitCodes().getValues().contains(end.getExitCode()));
    }
  }

  /**
   * How a pod's program ended.
   *
   * @param exitCode its exit code, null while it runs or when it never ran
   * @param reason why the cluster ended it, null when it ended by itself
   * @param message what the program or the cluster said at the end, null when nothing
   * @param at when it ended, null when not known
   */
  public record End(Integer exitCode, PodReason reason, String message, Instant at) {
    /** Of a program of which no end is known. */
    public static final End NONE = new End(null, null, null, null);

    /** Of a Workload that somebody, or Kueue, deactivated; Kueue says its own causes after it. */
    private static final String DEACTIVATED = "WorkloadEvictedDueToDeactivated";

    /** Types of conditions by which Kubernetes and Kueue say that the program is not why. */
    private static final Set<String> DISRUPTIONS = Set.of("DisruptionTarget", "TerminationTarget");

    /**
     * Reasons by which a runtime or kubelet says that a program is gone and nobody saw how: both
     * were started anew, as with their node.
     */
    private static final Set<String> UNSEEN = Set.of("Unknown", "ContainerStatusUnknown");

    private static End of(Pod pod) {
      var now = Container.now(pod);
      var said = Container.before(pod).or(() -> now);
      Instant at =
          said.map(ContainerStateTerminated::getFinishedAt).flatMap(WrittenTime::read).orElse(null);
      if (said.map(ContainerStateTerminated::getReason).filter(UNSEEN::contains).isPresent()) {
        return new End(
            null,
            PodReason.NodeLost,
            node(pod).orElse("its node") + " was started anew, and nobody saw the program end",
            at);
      }
      Optional<String> rejection = rejection(pod);
      if (rejection.isPresent()) {
        return new End(null, PodReason.Rejected, rejection.get(), at);
      }
      return new End(
          said.map(ContainerStateTerminated::getExitCode).orElse(null),
          reason(pod, now.orElse(null)),
          said.map(ContainerStateTerminated::getMessage)
              .or(() -> disruption(pod).map(PodCondition::getMessage))
              .or(() -> Optional.ofNullable(pod.getStatus()).map(PodStatus::getMessage))
              .filter(m -> !m.isBlank())
              .orElse(null),
          at);
    }

    private static Optional<String> node(Pod pod) {
      return Optional.ofNullable(pod.getSpec())
          .map(PodSpec::getNodeName)
          .filter(name -> !name.isBlank())
          .map(name -> "node " + name);
    }

    /**
     * Why a kubelet turned the pod away, in its words. There is no list of its reasons: any plugin
     * of the node brings its own. All of them leave a pod failed, with a reason, before a container
     * of it ran.
     */
    private static Optional<String> rejection(Pod pod) {
      if (!podPhase(pod).equals("Failed") || Container.ran(pod) || disruption(pod).isPresent()) {
        return Optional.empty();
      }
      return node(pod)
          .filter(node -> saidReason(pod).isPresent())
          .map(
              node ->
                  Stream.of(saidReason(pod), said(pod))
                      .flatMap(Optional::stream)
                      .collect(Collectors.joining(": ", node + " says ", "")));
    }

    private static Optional<String> saidReason(Pod pod) {
      return Optional.ofNullable(pod.getStatus())
          .map(PodStatus::getReason)
          .filter(reason -> !reason.isBlank());
    }

    private static Optional<String> said(Pod pod) {
      return Optional.ofNullable(pod.getStatus())
          .map(PodStatus::getMessage)
          .map(message -> message.replaceAll("\\s+", " ").strip())
          .filter(message -> !message.isEmpty());
    }

    /** What Kubernetes, or Kueue, says before it ends a pod for a reason that is not the pod's. */
    private static Optional<PodCondition> disruption(Pod pod) {
      return conditions(pod).stream()
          .filter(c -> DISRUPTIONS.contains(c.getType()) && c.getStatus().equals("True"))
          // Kueue ends the pods of a Workload that somebody deletes; the operator does that itself.
          .filter(c -> !"WorkloadDeleted".equals(c.getReason()))
          .findFirst();
    }

    private static PodReason because(String disruption) {
      if (disruption.startsWith(DEACTIVATED)) {
        return PodReason.Deactivated;
      }
      return switch (disruption) {
        case "PreemptionByScheduler", "WorkloadEvictedDueToPreempted" -> PodReason.Preempted;
        case "WorkloadEvictedDueToPodsReadyTimeout" -> PodReason.ReadyDeadline;
        case "DeletionByPodGC", "DeletionByTaintManager" -> PodReason.NodeLost;
        default -> PodReason.Evicted;
      };
    }

    private static PodReason reason(Pod pod, ContainerStateTerminated end) {
      if (end != null && "OOMKilled".equals(end.getReason())) {
        return PodReason.OOMKilled;
      }
      Optional<PodReason> disrupted =
          disruption(pod).map(c -> Objects.requireNonNullElse(c.getReason(), "")).map(End::because);
      if (disrupted.isPresent()) {
        return disrupted.get();
      }
      return switch (saidReason(pod).orElse("")) {
        case "Evicted" -> PodReason.Evicted;
        case "Preempting", "Preempted" -> PodReason.Preempted;
        case "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "NodeAffinity" ->
            PodReason.NodeLost;
        default -> podPhase(pod).equals("Unknown") ? PodReason.NodeLost : null;
      };
    }
  }

  /** Whether the pod will do nothing more. */
  public boolean ended() {
    return phase == Phase.Succeeded || phase == Phase.Failed;
  }

  /** Whether it waits to take any place of the gang. */
  public boolean isSpare() {
    return generation == 0;
  }

  /** Whether its program runs and can be reached. */
  public boolean isUp() {
    return phase == Phase.Running && ip != null && !deleting && !onLostNode();
  }

  /** Whether it can be part of the next start as it is. */
  public boolean canStay() {
    return container.waits() && !deleting && !ended() && !onLostNode();
  }

  /** Whether its node is gone, so that nobody will say when it has ended. */
  public boolean onLostNode() {
    return binding.node() != null && binding.node().lost();
  }

  /** Whether its node may be there and its program run, and only its kubelet is not heard of. */
  public boolean onSilentNode() {
    return binding.node() != null && binding.node().contact() == NodeState.Contact.SILENT;
  }

  /** The same pod, with more to say of why no node takes it. */
  PodState unschedulable(String because) {
    return with(
        new Binding(binding.gated(), because, binding.nodeName(), binding.node()), container);
  }

  /** The same pod, with more to say of why its container does not start. */
  PodState troubled(String because) {
    return with(binding, container.troubled(because));
  }

  private PodState with(Binding newBinding, Container newContainer) {
    return new PodState(
        name,
        uid,
        index,
        generation,
        gangSize,
        shown,
        phase,
        ready,
        deleting,
        ip,
        grace,
        newBinding,
        newContainer,
        end);
  }

  /** Reads a pod, without its node. */
  public static PodState of(Pod pod) {
    return of(pod, name -> Optional.empty());
  }

  /**
   * Reads a pod.
   *
   * @param nodes a node by name, empty when nodes are not watched
   */
  public static PodState of(Pod pod, Function<String, Optional<NodeState>> nodes) {
    return new PodState(
        pod.getMetadata().getName(),
        pod.getMetadata().getUid(),
        GangLabels.number(pod, GangLabels.POD_INDEX),
        GangLabels.generation(pod),
        GangLabels.number(pod, GangLabels.SIZE),
        GangLabels.shown(pod),
        phase(pod),
        conditions(pod).stream()
            .anyMatch(c -> c.getType().equals("Ready") && c.getStatus().equals("True")),
        pod.getMetadata().getDeletionTimestamp() != null,
        Optional.ofNullable(pod.getStatus())
            .map(PodStatus::getPodIP)
            .filter(ip -> !ip.isBlank())
            .orElse(null),
        Optional.ofNullable(pod.getSpec())
            .map(PodSpec::getTerminationGracePeriodSeconds)
            .orElse(null),
        Binding.of(pod, nodes),
        Container.of(pod),
        End.of(pod));
  }

  /** The container's end counts before the pod's phase, which follows a little later. */
  private static Phase phase(Pod pod) {
    var end = Container.now(pod);
    if (end.isPresent()) {
      Integer code = end.get().getExitCode();
      return code != null && code == 0 ? Phase.Succeeded : Phase.Failed;
    }
    return switch (podPhase(pod)) {
      case "Running" -> Phase.Running;
      case "Succeeded" -> Phase.Succeeded;
      case "Failed", "Unknown" -> Phase.Failed;
      default -> Phase.Pending;
    };
  }

  private static String podPhase(Pod pod) {
    return Optional.ofNullable(pod.getStatus()).map(PodStatus::getPhase).orElse("Pending");
  }

  private static List<PodCondition> conditions(Pod pod) {
    return Optional.ofNullable(pod.getStatus()).map(PodStatus::getConditions).orElse(List.of());
  }
}
