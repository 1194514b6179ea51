package dev.perigee.operator.gang;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.operator.gang.GangAction.ApplyService;
import dev.perigee.operator.gang.GangAction.CreateConfigMap;
import dev.perigee.operator.gang.GangAction.CreateGroup;
import dev.perigee.operator.gang.GangAction.CreatePod;
import dev.perigee.operator.gang.GangAction.DeleteConfigMap;
import dev.perigee.operator.gang.GangAction.DeletePod;
import io.fabric8.kubernetes.api.model.HasMetadata;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/** The difference between what should be and what is, as actions. */
public final class Gang {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Gang() {}

  /**
   * Actions that bring one start of the gang about. Pods of other starts go first and wholly: two
   * starts never overlap, because both would write to the same checkpoints. A pod that exists is
   * never touched, nor is the ConfigMap that it reads.
   */
  public static List<GangAction> start(GangPlan plan, ObservedGang observed) {
    List<GangAction> actions = new ArrayList<>();
    List<PodState> old = observed.notOf(plan.generation());
    if (!old.isEmpty()) {
      return delete(old, pod -> true);
    }
    if (!holds(plan.service(), observed.service())) {
      actions.add(new ApplyService(plan.service()));
    }
    String own = plan.configMap().getMetadata().getName();
    observed.configMapNames().stream()
        .filter(name -> !name.equals(own))
        .map(DeleteConfigMap::new)
        .forEach(actions::add);
    if (!observed.configMapNames().contains(own)) {
      actions.add(new CreateConfigMap(plan.configMap()));
    }
    Set<String> there =
        observed.of(plan.generation()).stream().map(PodState::name).collect(Collectors.toSet());
    List<CreatePod> missing =
        plan.pods().stream()
            .filter(pod -> !there.contains(pod.getMetadata().getName()))
            .map(CreatePod::new)
            .toList();
    if (!missing.isEmpty()) {
      plan.group().map(CreateGroup::new).ifPresent(actions::add);
    }
    actions.addAll(missing);
    return actions;
  }

  /** Actions that delete all pods, for example because the job is suspended. */
  public static List<GangAction> stop(ObservedGang observed) {
    return delete(observed.pods(), pod -> true);
  }

  /** Actions that delete what still runs, and leave ended pods with their logs. */
  public static List<GangAction> finish(ObservedGang observed) {
    return delete(observed.pods(), pod -> !pod.ended());
  }

  private static List<GangAction> delete(List<PodState> pods, Predicate<PodState> which) {
    return pods.stream()
        .filter(pod -> !pod.deleting())
        .filter(which)
        .<GangAction>map(pod -> new DeletePod(pod.name(), pod.uid()))
        .toList();
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
