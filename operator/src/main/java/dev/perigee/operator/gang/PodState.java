package dev.perigee.operator.gang;

import dev.perigee.api.FailurePolicy.PodReason;
import io.fabric8.kubernetes.api.model.ContainerStateTerminated;
import io.fabric8.kubernetes.api.model.ContainerStateWaiting;
import io.fabric8.kubernetes.api.model.ContainerStatus;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodCondition;
import java.time.Instant;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Function;

/**
 * What the operator needs to know of a pod.
 *
 * @param name the pod's name
 * @param uid tells it from a later pod of the same name
 * @param index its index in the gang, -1 when it has none
 * @param generation the start of the gang that it belongs to, 0 for a spare, -1 when its label is
 *     not a number
 * @param phase where it is in its life
 * @param ready whether it is ready
 * @param deleting whether it is being deleted
 * @param ip its address, null when it has none yet
 * @param exitCode exit code of the program, null while it runs or when it never ran
 * @param reason why the cluster ended it, null when the program ended by itself
 * @param message what the program or the cluster said at the end, null when nothing
 * @param finishedAt when the program ended, null when not known
 * @param waiting why the container waits, for example ImagePullBackOff, null when it does not
 * @param unschedulable why no node takes the pod, null when one did
 * @param gated whether a queue or quota has yet to let the pod in
 * @param grace seconds between SIGTERM and SIGKILL, null when the pod does not say
 * @param node its node, null when it has none or nodes are not watched
 * @param bound whether it has a node
 * @param alone whether its gang has no other pod
 * @param restarts how often its container was started again
 * @param waits whether its container was started again since the pod was last made part of a start;
 *     then exit code, message and end are those of the container before
 * @param returns whether its program has just ended in a way upon which the pod's own rules start
 *     the container again; the kubelet says so by leaving the pod's phase at Running
 */
public record PodState(
    String name,
    String uid,
    int index,
    int generation,
    Phase phase,
    boolean ready,
    boolean deleting,
    String ip,
    Integer exitCode,
    PodReason reason,
    String message,
    Instant finishedAt,
    String waiting,
    String unschedulable,
    boolean gated,
    Long grace,
    NodeState node,
    boolean bound,
    boolean alone,
    int restarts,
    boolean waits,
    boolean returns) {

  private static final String GATED = "SchedulingGated";

  /** Where a pod is in its life. */
  public enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed
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
    return waits && !deleting && !ended() && !onLostNode();
  }

  /** Whether its node is gone, so that nobody will say when it has ended. */
  public boolean onLostNode() {
    return node != null && node.lost();
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
    Optional<String> nodeName =
        Optional.ofNullable(pod.getSpec()).map(s -> s.getNodeName()).filter(n -> !n.isBlank());
    var status = Optional.ofNullable(pod.getStatus());
    List<ContainerStatus> containers = status.map(s -> s.getContainerStatuses()).orElse(List.of());
    var container = containers.stream().findFirst();
    int restarts = container.map(ContainerStatus::getRestartCount).orElse(0);
    Optional<ContainerStateTerminated> before =
        container
            .filter(c -> restarts > GangLabels.adoptedRestarts(pod))
            .filter(c -> c.getState() == null || c.getState().getTerminated() == null)
            .map(ContainerStatus::getLastState)
            .map(s -> s.getTerminated());
    Optional<ContainerStateTerminated> end =
        container.map(ContainerStatus::getState).map(s -> s.getTerminated());
    Optional<ContainerStateTerminated> said = before.or(() -> end);
    List<PodCondition> conditions = status.map(s -> s.getConditions()).orElse(List.of());
    String podPhase = status.map(s -> s.getPhase()).orElse("Pending");
    return new PodState(
        pod.getMetadata().getName(),
        pod.getMetadata().getUid(),
        GangLabels.number(pod, GangLabels.POD_INDEX),
        GangLabels.generation(pod),
        phase(podPhase, end),
        holds(conditions, "Ready"),
        pod.getMetadata().getDeletionTimestamp() != null,
        status.map(s -> s.getPodIP()).filter(ip -> !ip.isBlank()).orElse(null),
        said.map(ContainerStateTerminated::getExitCode).orElse(null),
        reason(status.map(s -> s.getReason()).orElse(null), podPhase, end.orElse(null), conditions),
        said.map(ContainerStateTerminated::getMessage)
            .or(() -> status.map(s -> s.getMessage()))
            .filter(m -> !m.isBlank())
            .orElse(null),
        said.map(ContainerStateTerminated::getFinishedAt).flatMap(WrittenTime::read).orElse(null),
        container
            .map(ContainerStatus::getState)
            .map(s -> s.getWaiting())
            .map(ContainerStateWaiting::getReason)
            .orElse(null),
        conditions.stream()
            .filter(c -> c.getType().equals("PodScheduled") && c.getStatus().equals("False"))
            .filter(c -> !GATED.equals(c.getReason()))
            .map(c -> Objects.requireNonNullElse(c.getMessage(), "no node takes the pod"))
            .findFirst()
            .orElse(null),
        nodeName.isEmpty()
            && Optional.ofNullable(pod.getSpec())
                .map(s -> s.getSchedulingGates())
                .filter(gates -> !gates.isEmpty())
                .isPresent(),
        Optional.ofNullable(pod.getSpec())
            .map(s -> s.getTerminationGracePeriodSeconds())
            .orElse(null),
        nodeName.flatMap(nodes).orElse(null),
        nodeName.isPresent(),
        GangLabels.number(pod, GangLabels.SIZE) == 1,
        restarts,
        before.isPresent(),
        podPhase.equals("Running") && end.map(e -> startsAgain(pod, e)).orElse(false));
  }

  private static boolean startsAgain(Pod pod, ContainerStateTerminated end) {
    return Optional.ofNullable(pod.getSpec()).stream()
        .flatMap(spec -> spec.getContainers().stream())
        .flatMap(container -> container.getRestartPolicyRules().stream())
        .filter(rule -> "Restart".equals(rule.getAction()) && rule.getExitCodes() != null)
        .anyMatch(
            rule ->
                "In".equals(rule.getExitCodes().getOperator())
                    && rule.getExitCodes().getValues().contains(end.getExitCode()));
  }

  /** The container's end counts before the pod's phase, which follows a little later. */
  private static Phase phase(String podPhase, Optional<ContainerStateTerminated> end) {
    if (end.isPresent()) {
      Integer code = end.get().getExitCode();
      return code != null && code == 0 ? Phase.Succeeded : Phase.Failed;
    }
    return switch (podPhase) {
      case "Running" -> Phase.Running;
      case "Succeeded" -> Phase.Succeeded;
      case "Failed", "Unknown" -> Phase.Failed;
      default -> Phase.Pending;
    };
  }

  private static PodReason reason(
      String podReason,
      String podPhase,
      ContainerStateTerminated end,
      List<PodCondition> conditions) {
    if (end != null && "OOMKilled".equals(end.getReason())) {
      return PodReason.OOMKilled;
    }
    // A DisruptionTarget condition is how Kubernetes says that the cluster, not the program, is
    // why.
    for (PodCondition condition : conditions) {
      if (condition.getType().equals("DisruptionTarget") && condition.getStatus().equals("True")) {
        return switch (Objects.requireNonNullElse(condition.getReason(), "")) {
          case "PreemptionByScheduler" -> PodReason.Preempted;
          case "DeletionByPodGC", "DeletionByTaintManager" -> PodReason.NodeLost;
          default -> PodReason.Evicted;
        };
      }
    }
    return switch (Objects.requireNonNullElse(podReason, "")) {
      case "Evicted" -> PodReason.Evicted;
      case "Preempting", "Preempted" -> PodReason.Preempted;
      case "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "NodeAffinity" ->
          PodReason.NodeLost;
      default -> podPhase.equals("Unknown") ? PodReason.NodeLost : null;
    };
  }

  private static boolean holds(List<PodCondition> conditions, String type) {
    return conditions.stream()
        .anyMatch(c -> c.getType().equals(type) && c.getStatus().equals("True"));
  }
}
