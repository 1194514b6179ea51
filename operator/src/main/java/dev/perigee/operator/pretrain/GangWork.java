package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.operator.gang.Gang;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.GangLife;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.PodState;
import dev.perigee.operator.gang.Roster;
import dev.perigee.operator.gang.Spares;
import io.fabric8.kubernetes.api.model.Pod;
import java.time.Instant;
import java.util.List;
import java.util.function.Predicate;
import java.util.stream.Stream;

/** What is to be done about a job's gang, as its life says: pure functions. */
final class GangWork {
  private GangWork() {}

  /**
   * Everything that is to be done, in order.
   *
   * @param meeting whether the programs are up and still look for each other
   */
  static List<GangAction> of(
      PretrainJob owner,
      PretrainPlan.Workable plan,
      GangLife life,
      ObservedGang observed,
      boolean meeting,
      Step.Settings settings,
      Instant now) {
    String job = owner.getMetadata().getName();
    boolean inPlace = Step.isInPlace(owner, plan, observed);
    Predicate<PodState> stays = pod -> inPlace && life.stays(pod);
    return switch (life.state()) {
      case GangLife.State.Running() ->
          letGo(
              job,
              plan,
              observed.notOf(plan.generation()),
              running(owner, plan, observed, meeting, settings, stays, inPlace, now));
      case GangLife.State.Waiting(var left, var notBefore) ->
          letGo(
              job,
              plan,
              observed.pods(),
              Gang.stop(
                  observed,
                  life.hung(),
                  pod -> inPlace && (pod.isSpare() || life.mayStay(pod, now))));
      case GangLife.State.Deactivated(var left) ->
          letGo(job, plan, observed.pods(), Gang.stop(observed, false, pod -> false));
      case GangLife.State.Suspended(var left) ->
          letGo(job, plan, observed.pods(), Gang.stop(observed, false, pod -> false));
      case GangLife.State.Complete() -> Gang.finish(observed);
      case GangLife.State.Failed(var reason, var message) -> Gang.finish(observed);
    };
  }

  private static List<GangAction> running(
      PretrainJob job,
      PretrainPlan.Workable plan,
      ObservedGang observed,
      boolean meeting,
      Step.Settings settings,
      Predicate<PodState> stays,
      boolean inPlace,
      Instant now) {
    int size = plan.gang().pods().size();
    // Spares read the configuration that they were made with; for another they are made anew.
    Roster roster =
        Roster.of(
            plan.generation(),
            size,
            inPlace ? observed : observed.withoutSpares(),
            stays,
            PretrainPlan.published(job, observed));
    List<GangAction> actions =
        Gang.start(
            plan.gang()
                .withPeers(PretrainPlan.peers(job, plan.ranks(), roster))
                .withPolicy(settings.readers().map(r -> PretrainPlan.policy(job, r))),
            observed,
            stays,
            roster,
            meeting);
    // A new operator may plan a little differently: it leaves what waits until the next start.
    boolean whole = roster.isWhole(size);
    // A spare that waited for a node longer may get the one that a lost pod leaves behind.
    boolean roomForAll =
        roster.places().values().stream().allMatch(pod -> pod.binding().unschedulable() == null);
    Spares spares =
        Spares.of(
            (inPlace || whole) && roomForAll ? job.getSpec().failurePolicy().spares() : 0,
            roster.idle(observed),
            observed,
            number -> JobNames.spare(job.getMetadata().getName(), number),
            now);
    // The gang's own pods come first to nodes and quotas.
    List<Pod> made =
        (inPlace && whole ? spares.names() : List.<String>of())
            .stream()
                .map(
                    name ->
                        TrainerPods.spare(
                            job, plan.run(), plan.ranks(), name, settings.trainerImage()))
                .toList();
    return Stream.concat(actions.stream(), Gang.tend(spares.leaving(), made).stream()).toList();
  }

  /**
   * With the pods of a start goes what it holds at its scheduler: Kueue keeps a pod that is being
   * deleted until its Workload is gone.
   */
  private static List<GangAction> letGo(
      String job, PretrainPlan.Workable plan, List<PodState> leaving, List<GangAction> actions) {
    return Stream.concat(
            actions.stream(),
            leaving.stream()
                .map(PodState::generation)
                .distinct()
                .map(start -> JobNames.group(job, start))
                .flatMap(group -> plan.placement().held(group).stream())
                .map(h -> new GangAction.DeleteGroup(h.apiVersion(), h.plural(), h.name())))
        .toList();
  }
}
