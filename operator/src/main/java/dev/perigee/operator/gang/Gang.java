package dev.perigee.operator.gang;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.operator.gang.GangAction.AdoptPod;
import dev.perigee.operator.gang.GangAction.ApplyConfigMap;
import dev.perigee.operator.gang.GangAction.ApplyNetworkPolicy;
import dev.perigee.operator.gang.GangAction.ApplyService;
import dev.perigee.operator.gang.GangAction.CreateConfigMap;
import dev.perigee.operator.gang.GangAction.CreateGroup;
import dev.perigee.operator.gang.GangAction.CreatePod;
import dev.perigee.operator.gang.GangAction.DeleteConfigMap;
import dev.perigee.operator.gang.GangAction.DeletePod;
import dev.perigee.operator.gang.GangAction.ShowPeers;
import dev.perigee.run.ExitCode;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.Pod;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import java.util.stream.IntStream;

/** The difference between what should be and what is, as actions. */
public final class Gang {
  /** Grace of a pod that has nothing to save any more. */
  static final long GOODBYE_SECONDS = 15;

  private static final ObjectMapper JSON = new ObjectMapper();

  private Gang() {}

  /**
   * Actions that bring one start of the gang about. Pods of other starts go first and wholly: two
   * starts never overlap, because both would write to the same checkpoints. A pod that exists is
   * never touched, nor is the ConfigMap that it reads.
   *
   * @param stays which pods of the start before wait to be part of this one
   * @param roster who has which place; pods that have waited get theirs once all others have an
   *     address
   * @param meeting whether the programs are up and still look for each other
   */
  public static List<GangAction> start(
      GangPlan plan,
      ObservedGang observed,
      Predicate<PodState> stays,
      Roster roster,
      boolean meeting) {
    List<GangAction> actions = new ArrayList<>();
    List<PodState> old = observed.notOf(plan.generation());
    if (!old.stream().allMatch(stays)) {
      return delete(observed, pod -> old.contains(pod) && !stays.test(pod), false);
    }
    if (!holds(plan.service(), observed.service())) {
      actions.add(new ApplyService(plan.service()));
    }
    plan.policy()
        .filter(policy -> !holds(policy, observed.policy()))
        .map(ApplyNetworkPolicy::new)
        .ifPresent(actions::add);
    String own = plan.configMap().getMetadata().getName();
    if (observed.pods().stream().allMatch(pod -> isMadeFor(plan, pod))) {
      observed.configMaps().stream()
          .filter(c -> GangLabels.generation(c) != plan.generation())
          .map(c -> c.getMetadata().getName())
          .filter(name -> !name.equals(own) && !name.equals(plan.peersName()))
          .map(DeleteConfigMap::new)
          .forEach(actions::add);
    }
    if (!observed.configMapNames().contains(own)) {
      actions.add(new CreateConfigMap(plan.configMap()));
    }
    List<CreatePod> missing =
        IntStream.range(0, plan.pods().size())
            .filter(index -> !roster.places().containsKey(index))
            .mapToObj(plan.pods()::get)
            .map(CreatePod::new)
            .toList();
    if (!missing.isEmpty()) {
      plan.group().map(CreateGroup::new).ifPresent(actions::add);
    }
    actions.addAll(missing);
    if (plan.peers().isPresent()) {
      ConfigMap peers = plan.peers().get();
      if (!holds(peers, observed.configMap(peers.getMetadata().getName()))) {
        actions.add(new ApplyConfigMap(peers));
      } else if (meeting) {
        roster.places().values().stream()
            .filter(pod -> pod.shown() != plan.generation())
            .map(pod -> new ShowPeers(pod.name(), pod.uid(), plan.generation()))
            .forEach(actions::add);
      }
      // After the ConfigMap: a kubelet looks at a pod's volumes anew when the pod changes.
      roster
          .newcomers()
          .forEach(
              (index, pod) ->
                  actions.add(
                      new AdoptPod(
                          pod.name(),
                          pod.uid(),
                          index,
                          plan.generation(),
                          pod.container().restarts())));
    }
    return actions;
  }

  /** Actions that delete spares that are over, and make new ones. */
  public static List<GangAction> tend(List<PodState> leaving, List<Pod> spares) {
    List<GangAction> actions = new ArrayList<>();
    leaving.forEach(pod -> actions.add(new DeletePod(pod.name(), pod.uid(), GOODBYE_SECONDS)));
    spares.forEach(pod -> actions.add(new CreatePod(pod)));
    return actions;
  }

  /**
   * Whether a pod cannot have the ConfigMap of an earlier start mounted, as one that stayed over a
   * restart has, and one that was a spare.
   */
  private static boolean isMadeFor(GangPlan plan, PodState pod) {
    return pod.container().restarts() == 0
        && plan.pods().stream().anyMatch(p -> p.getMetadata().getName().equals(pod.name()));
  }

  /**
   * Actions that delete all pods, for example because the job is suspended.
   *
   * @param hung whether the programs no longer get on, so that waiting for a save is in vain
   * @param stays which pods are left alone
   */
  public static List<GangAction> stop(
      ObservedGang observed, boolean hung, Predicate<PodState> stays) {
    return delete(observed, stays.negate(), hung);
  }

  /** Actions that delete what still runs, and leave ended pods with their logs. */
  public static List<GangAction> finish(ObservedGang observed) {
    return delete(observed, pod -> !pod.ended(), false);
  }

  private static List<GangAction> delete(
      ObservedGang observed, Predicate<PodState> which, boolean hung) {
    return observed.pods().stream()
        .filter(which)
        .map(pod -> new DeletePod(pod.name(), pod.uid(), grace(pod, observed, hung)))
        .filter(delete -> !observed.isDeleting(delete.uid()) || isForced(delete))
        .<GangAction>map(delete -> delete)
        .toList();
  }

  private static boolean isForced(DeletePod delete) {
    return delete.graceSeconds() != null && delete.graceSeconds() == 0;
  }

  /**
   * The pod's own grace while all can still save together. Once one of them is gone no save can
   * succeed, so the others get just the time to say goodbye. A pod on a lost node is forgotten when
   * one of its peers is known to be gone, or is where it will be told to go: it loses that one and
   * ends by itself. A gang that is on lost nodes as a whole may still train and write, so one of
   * them has to come back, or be deleted by somebody who knows.
   */
  private static Long grace(PodState pod, ObservedGang observed, boolean hung) {
    List<PodState> gang = observed.of(pod.generation());
    if (pod.onLostNode() && !observed.isOutOfReach(pod.generation())) {
      return 0L;
    }
    boolean inVain =
        hung
            || gang.stream()
                .anyMatch(
                    p ->
                        p.onLostNode()
                            || (p.phase() == PodState.Phase.Failed
                                && !Integer.valueOf(ExitCode.STOPPED.code())
                                    .equals(p.end().exitCode())));
    if (!inVain) {
      return null;
    }
    return pod.grace() == null ? GOODBYE_SECONDS : Math.min(GOODBYE_SECONDS, pod.grace());
  }

  /** Whether everything that is wanted of an object is so; others may have added to it. */
  private static boolean holds(HasMetadata wanted, Optional<? extends HasMetadata> is) {
    return is.isPresent() && holds(JSON.valueToTree(wanted), JSON.<JsonNode>valueToTree(is.get()));
  }

  private static boolean holds(JsonNode wanted, JsonNode is) {
    if (is == null) {
      return false;
    }
    if (wanted.isObject()) {
      return is.isObject()
          && wanted.properties().stream().allMatch(e -> holds(e.getValue(), is.get(e.getKey())));
    }
    if (wanted.isArray()) {
      if (!is.isArray() || wanted.size() != is.size()) {
        return false;
      }
      for (int i = 0; i < wanted.size(); i++) {
        if (!holds(wanted.get(i), is.get(i))) {
          return false;
        }
      }
      return true;
    }
    return wanted.equals(is);
  }
}
