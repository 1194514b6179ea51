package dev.perigee.operator.pretrain;

import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.GangLabels;
import dev.perigee.operator.gang.GangLife;
import dev.perigee.operator.gang.GangPlan;
import dev.perigee.operator.gang.NodeState;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.PodState;
import dev.perigee.run.RunStatus;
import java.util.EnumSet;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/**
 * Why things are as they are with a job, for its conditions.
 *
 * @param reason one word
 * @param message one line about it, cut to what the API server takes of a condition
 */
record Summary(ConditionReason reason, String message) {
  private static final Set<ConditionReason> WORKING =
      EnumSet.of(ConditionReason.Training, ConditionReason.Evaluating, ConditionReason.Saving);
  private static final Set<String> IMAGE_TROUBLE =
      Set.of("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull");

  /** What becomes of a gang whose end nobody can see. */
  private static final String OUT_OF_REACH =
      "; all its nodes are silent or gone, and its programs may still train and save: this goes on"
          + " when one of the nodes is back, or when all are deleted or have the taint"
          + " node.kubernetes.io/out-of-service";

  Summary {
    message =
        message.length() <= JobRecord.LONGEST_MESSAGE
            ? message
            : message.substring(0, JobRecord.LONGEST_MESSAGE - 1) + "…";
  }

  /**
   * Of a gang that has a plan.
   *
   * @param said what rank 0 says now, empty when it says nothing
   * @param old what the job's status says
   */
  static Summary of(
      GangLife life,
      ObservedGang observed,
      GangPlan plan,
      Optional<RunStatus> said,
      PretrainJobStatus old) {
    int attempt = life.attempt().number();
    boolean outOfReach =
        observed.notOf(attempt).stream().anyMatch(pod -> observed.isOutOfReach(pod.generation()));
    return switch (life.state()) {
      case GangLife.State.Complete() ->
          new Summary(ConditionReason.Complete, "All steps are done and saved.");
      case GangLife.State.Failed(var reason, var message) -> new Summary(reason, message);
      case GangLife.State.Deactivated(var left) ->
          new Summary(ConditionReason.AwaitingAdmission, deactivated(life, plan, left));
      case GangLife.State.Suspended(var left) when left > 0 ->
          new Summary(
              ConditionReason.Suspending,
              outOfReach
                  ? "The pods cannot be told to go" + OUT_OF_REACH
                  : "The pods save and go.");
      case GangLife.State.Suspended(var none) ->
          new Summary(
              ConditionReason.Suspended, "Suspended; set suspend: false to continue training.");
      case GangLife.State.Waiting(var left, var notBefore) when left > 0 ->
          new Summary(
              ConditionReason.Restarting,
              broke(life) + (outOfReach ? OUT_OF_REACH : "; its pods go first."));
      case GangLife.State.Waiting(var none, var notBefore) ->
          new Summary(
              ConditionReason.BackingOff, broke(life) + "; it starts again at " + notBefore + ".");
      case GangLife.State.Running() -> running(observed.of(attempt), plan, said, old);
    };
  }

  /** What may yet break a gang that is thought to run. */
  private static String notes(List<PodState> gang) {
    Set<String> silentNodes =
        gang.stream()
            .filter(PodState::onSilentNode)
            .map(pod -> pod.binding().node().name())
            .collect(Collectors.toCollection(TreeSet::new));
    if (!silentNodes.isEmpty()) {
      return " Nothing is heard of the kubelet on " + String.join(", ", silentNodes) + ".";
    }
    return gang.stream()
        .filter(pod -> pod.phase() == PodState.Phase.Failed)
        .findFirst()
        .map(pod -> " " + pod.name() + " has lost a peer, which has yet to say why.")
        .orElse("");
  }

  /** What a program says is one sentence; notes come after it. */
  private Summary withoutNotes() {
    int end = message.indexOf('.');
    return end < 0 ? this : new Summary(reason, message.substring(0, end + 1));
  }

  private Summary with(String note) {
    return note.isEmpty() ? this : new Summary(reason, message + note);
  }

  private static String broke(GangLife life) {
    return life.broke()
        .map(failure -> "The gang broke: " + failure.message())
        .orElse("The gang starts anew as the specification asks");
  }

  private static String deactivated(GangLife life, GangPlan plan, int left) {
    String job = plan.service().getMetadata().getLabels().get(GangLabels.JOB);
    return "Workload "
        + JobNames.group(job, life.lastFailure().attempt())
        + " was deactivated"
        + (left > 0 ? "; the pods save and go" : "")
        + "; the job goes to its queue again when it has been suspended and resumed: "
        + life.lastFailure().message();
  }

  private static Summary running(
      List<PodState> gang, GangPlan plan, Optional<RunStatus> said, PretrainJobStatus old) {
    int pods = plan.pods().size();
    Optional<PodState> gated = gang.stream().filter(p -> p.binding().gated()).findFirst();
    if (gated.isPresent()) {
      String why = gated.get().binding().unschedulable();
      return new Summary(
          ConditionReason.AwaitingAdmission,
          "The pods wait for a queue or quota to let them in" + (why == null ? "." : ": " + why));
    }
    Optional<PodState> homeless =
        gang.stream().filter(p -> p.binding().unschedulable() != null).findFirst();
    if (homeless.isPresent()) {
      return new Summary(
          ConditionReason.InsufficientCapacity,
          "No node takes "
              + homeless.get().name()
              + ": "
              + homeless.get().binding().unschedulable());
    }
    Optional<PodState> imageless =
        gang.stream()
            .filter(
                p ->
                    p.container().waiting() != null
                        && IMAGE_TROUBLE.contains(p.container().waiting()))
            .findFirst();
    if (imageless.isPresent()) {
      return new Summary(
          ConditionReason.ImagePull,
          "The image "
              + image(plan)
              + " of "
              + imageless.get().name()
              + " cannot be pulled: "
              + Objects.requireNonNullElse(
                  imageless.get().container().trouble(), imageless.get().container().waiting()));
    }
    Optional<PodState> stuck =
        gang.stream()
            .filter(p -> p.phase() == PodState.Phase.Pending && p.container().trouble() != null)
            .findFirst();
    if (stuck.isPresent()) {
      NodeState node = stuck.get().binding().node();
      return new Summary(
          ConditionReason.PodSetup,
          (node == null ? "The node" : "Node " + node.name())
              + " does not get "
              + stuck.get().name()
              + " to start: "
              + stuck.get().container().trouble());
    }
    if (gang.size() < pods) {
      // Tried again with every look; until it works, what was said about it stands.
      return standing(old, EnumSet.of(ConditionReason.CreationRefused))
          .orElseGet(() -> starting(pods));
    }
    if (gang.stream().anyMatch(p -> p.phase() == PodState.Phase.Pending)) {
      return starting(pods);
    }
    if (said.isPresent() && said.get().phase() != null) {
      return saying(said.get(), pods).with(notes(gang));
    }
    // One unanswered question is no news: the last answer stands while the pods run.
    return standing(old, WORKING)
        .map(last -> last.withoutNotes().with(notes(gang)))
        .orElseGet(() -> starting(pods));
  }

  private static String image(GangPlan plan) {
    return plan.pods().getFirst().getSpec().getContainers().getFirst().getImage();
  }

  /** What was said last, when it is one of these. */
  private static Optional<Summary> standing(PretrainJobStatus old, Set<ConditionReason> reasons) {
    return old.condition(ConditionType.Ready)
        .flatMap(c -> ConditionReason.of(c.reason()).map(r -> new Summary(r, c.message())))
        .filter(s -> reasons.contains(s.reason()));
  }

  private static Summary starting(int pods) {
    return new Summary(
        ConditionReason.Starting, pods == 1 ? "The pod starts." : pods + " pods start.");
  }

  private static Summary saying(RunStatus said, int pods) {
    return switch (said.phase()) {
      case Starting -> starting(pods);
      case Waiting, Rendezvous ->
          new Summary(ConditionReason.Rendezvous, "Pods wait for their peers.");
      case Loading -> new Summary(ConditionReason.Loading, "Data and weights are being read.");
      case Training -> new Summary(ConditionReason.Training, "Steps are being taken.");
      case Evaluating -> new Summary(ConditionReason.Evaluating, "Held-out data is being scored.");
      case Saving -> new Summary(ConditionReason.Saving, "A checkpoint is being written.");
      case Done, Failed -> new Summary(ConditionReason.Saving, "The program is ending.");
    };
  }

  /** The conditions that hold then; all others do not. */
  Set<ConditionType> holding(GangLife life) {
    return switch (life.state()) {
      case GangLife.State.Complete() -> EnumSet.of(ConditionType.Ready, ConditionType.Complete);
      case GangLife.State.Failed(var reason, var message) ->
          EnumSet.of(ConditionType.Failed, ConditionType.Stalled);
      case GangLife.State.Suspended(var left) ->
          left > 0 ? EnumSet.of(ConditionType.Reconciling) : EnumSet.of(ConditionType.Suspended);
      case GangLife.State.Waiting(var left, var notBefore) -> EnumSet.of(ConditionType.Reconciling);
      case GangLife.State.Deactivated(var left) ->
          EnumSet.of(left > 0 ? ConditionType.Reconciling : ConditionType.Stalled);
      case GangLife.State.Running() ->
          EnumSet.of(WORKING.contains(reason) ? ConditionType.Ready : ConditionType.Reconciling);
    };
  }
}
