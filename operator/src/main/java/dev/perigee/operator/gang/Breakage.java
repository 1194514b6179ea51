package dev.perigee.operator.gang;

import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.run.ExitCode;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;

/**
 * Why a gang broke: the pod that broke it and what happened to it.
 *
 * @param pod the pod's name
 * @param exitCode its exit code, null when it had none
 * @param reason why the cluster ended it, null when the program ended by itself
 * @param message what it said at the end, null when nothing
 */
public record Breakage(String pod, Integer exitCode, PodReason reason, String message) {

  /** How long to wait for a pod with a better reason when all that is seen lost a peer. */
  static final Duration SETTLE = Duration.ofSeconds(15);

  /**
   * The same where a pod has not ended and its node is watched: a peer that is lost and says
   * nothing is mostly on a node that has died, of which the control plane knows after 40 to 55 s
   * (leases are renewed every 10 s, {@code --node-monitor-grace-period} is 50 s or, before 1.32, 40
   * s). The next start could not begin before that anyway.
   */
  static final Duration NODE_SILENCE = Duration.ofSeconds(60);

  /** What a look at a gang says. */
  public sealed interface Finding {
    /** Nothing is wrong. */
    record Intact() implements Finding {}

    /** Something broke, but the pod to blame has not shown itself yet. */
    record Settling() implements Finding {}

    /** It broke, for this reason. */
    record Broken(Breakage breakage) implements Finding {}
  }

  /**
   * Looks for the pod to blame. When one pod dies, its peers lose it and end too; so a pod with a
   * reason of its own is blamed before one that lost a peer, and among equals the first that ended.
   * A node whose kubelet is silent is no fault while the gang trains: what runs there still does.
   *
   * @param pods pods of the current start
   * @param names of the gang's places by index; a spare that took one has a name of its own
   * @param formed whether all of them existed at once before; only then a missing one is a loss
   * @param nodeConditions types of node conditions that break a gang
   * @param getsOn whether index 0 says that the gang trains
   * @param now the time
   */
  public static Finding find(
      List<PodState> pods,
      List<String> names,
      boolean formed,
      List<String> nodeConditions,
      boolean getsOn,
      Instant now) {
    List<Suspect> suspects = new ArrayList<>();
    for (PodState pod : pods) {
      suspect(pod, nodeConditions, getsOn).ifPresent(suspects::add);
    }
    if (formed) {
      for (int i = 0; i < names.size(); i++) {
        int index = i;
        if (pods.stream().noneMatch(p -> p.index() == index)) {
          suspects.add(
              new Suspect(
                  Guilt.OWN,
                  Instant.MAX, // those that are left may say why
                  new Breakage(names.get(i), null, PodReason.Deleted, "the pod is gone")));
        }
      }
    }
    if (suspects.isEmpty()) {
      return new Finding.Intact();
    }
    Suspect blamed =
        suspects.stream()
            .min(Comparator.comparing(Suspect::guilt).thenComparing(Suspect::since))
            .orElseThrow();
    List<PodState> silent =
        pods.stream().filter(p -> !p.ended() && !p.container().waits()).toList();
    boolean nodesWatched = silent.stream().anyMatch(p -> p.binding().node() != null);
    if (blamed.guilt == Guilt.LOST_PEER
        && !silent.isEmpty()
        && WrittenTime.isWithin(nodesWatched ? NODE_SILENCE : SETTLE, blamed.since, now)) {
      return new Finding.Settling();
    }
    return new Finding.Broken(blamed.breakage);
  }

  /** How much a pod is to blame, most first. */
  private enum Guilt {
    OWN,
    STOPPED,
    LOST_PEER
  }

  private record Suspect(Guilt guilt, Instant since, Breakage breakage) {}

  private static Optional<Suspect> suspect(
      PodState pod, List<String> nodeConditions, boolean getsOn) {
    Instant since = pod.end().at() == null ? Instant.MAX : pod.end().at();
    boolean excused = getsOn && pod.onSilentNode();
    if (pod.onLostNode() && !excused && pod.phase() != PodState.Phase.Succeeded) {
      return Optional.of(
          new Suspect(
              Guilt.OWN,
              Instant.MIN,
              new Breakage(
                  pod.name(),
                  null,
                  PodReason.NodeLost,
                  "node " + pod.binding().node().name() + " is lost")));
    }
    if (pod.phase() == PodState.Phase.Failed || pod.container().waits()) {
      Guilt guilt = guilt(pod);
      return Optional.of(
          new Suspect(
              guilt,
              since,
              new Breakage(
                  pod.name(), pod.end().exitCode(), pod.end().reason(), pod.end().message())));
    }
    // Somebody else deletes it: the others are stopped too, while all can still save together.
    if (pod.deleting() && !pod.ended()) {
      PodReason reason = pod.end().reason() == null ? PodReason.Deleted : pod.end().reason();
      String why = pod.end().message() == null ? "" : ": " + pod.end().message();
      return Optional.of(
          new Suspect(
              Guilt.OWN,
              since,
              new Breakage(pod.name(), null, reason, "the pod is being deleted" + why)));
    }
    if (pod.binding().node() != null && !pod.ended()) {
      return nodeConditions.stream()
          .filter(pod.binding().node().conditions()::contains)
          .findFirst()
          .map(
              type ->
                  new Suspect(
                      Guilt.OWN,
                      since,
                      new Breakage(
                          pod.name(),
                          null,
                          PodReason.NodeCondition,
                          "node " + pod.binding().node().name() + " has " + type)));
    }
    return Optional.empty();
  }

  private static Guilt guilt(PodState pod) {
    if (pod.end().reason() != null || pod.end().exitCode() == null) {
      return Guilt.OWN;
    }
    return ExitCode.of(pod.end().exitCode())
        .map(
            code ->
                switch (code) {
                  case LOST_PEER -> Guilt.LOST_PEER;
                  case STOPPED -> Guilt.STOPPED;
                  default -> Guilt.OWN;
                })
        .orElse(Guilt.OWN);
  }
}
