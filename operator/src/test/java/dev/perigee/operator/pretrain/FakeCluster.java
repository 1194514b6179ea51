package dev.perigee.operator.pretrain;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.GangAction;
import dev.perigee.operator.gang.NodeState;
import dev.perigee.operator.gang.Nodes;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.placement.ServedSchedulers;
import dev.perigee.run.RunStatus;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.ServiceBuilder;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeer;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Consumer;

/** A cluster in memory, with a clock that is moved by hand and pods that do what a test says. */
final class FakeCluster {
  ServedSchedulers served = ServedSchedulers.NONE;

  /** What stands for a start of the gang at its scheduler. */
  final Set<String> groups = new TreeSet<>();

  /** What is left of an earlier job of this name. */
  List<String> leftovers = List.of();

  /** Who may reach gangs, when they are closed to others. */
  Optional<List<NetworkPolicyPeer>> readers = Optional.empty();

  /** What the cluster's nodes are known to have. */
  Nodes nodes = Nodes.UNREADABLE;

  PretrainJob job;
  Instant now = Instant.parse("2026-01-01T00:00:00Z");

  /** How far the clocks of the nodes are ahead of the operator's. */
  Duration nodesAhead = Duration.ZERO;

  RunStatus said;
  Neighbours neighbours = Neighbours.NONE;

  /** What the queue says of pods that it holds, null when it says nothing. */
  String queueSays;

  /** Why the API server refuses what is to be created, null when it does not. */
  String refusal;

  /** The grace that a pod was last deleted with, null for its own. */
  final Map<String, Long> graces = new TreeMap<>();

  final List<Transition> events = new ArrayList<>();
  final List<Milestones> milestones = new ArrayList<>();
  int writes;

  private final Map<String, FakePod> pods = new TreeMap<>();
  private final Map<String, Pod> made = new TreeMap<>();
  private Optional<Service> service = Optional.empty();
  private Optional<NetworkPolicy> policy = Optional.empty();
  private final Map<String, ConfigMap> configMaps = new TreeMap<>();
  private int uids;

  FakeCluster(PretrainJob job) {
    this.job = job;
  }

  /** After which of its writes an operator dies. */
  enum Death {
    AFTER_REMEMBERING,
    AFTER_REPORTING,
    NEVER
  }

  /** One reconciliation. */
  Step reconcile() {
    return reconcile(Death.NEVER);
  }

  /** One reconciliation, in which the operator may die. */
  Step reconcile(Death death) {
    ObservedGang observed =
        new ObservedGang(
            service,
            policy,
            List.copyOf(configMaps.values()),
            pods.values().stream().map(FakePod::state).toList(),
            leftovers);
    Step step =
        Step.take(
            job,
            queueSays == null ? observed : observed.held(queueSays),
            Optional.ofNullable(said),
            neighbours,
            new Step.Settings(
                "perigee-trainer:test", Duration.ofSeconds(2), served, readers, nodes),
            now);
    step.remember().ifPresent(this::act);
    writes += step.remember().isPresent() ? 1 : 0;
    if (death == Death.AFTER_REMEMBERING) {
      return step;
    }
    PretrainJobStatus announced = step.announced();
    report(step.known(), announced);
    if (refusal != null && !step.actions().isEmpty()) {
      report(announced, StatusReport.refused(job, announced, refusal, now));
    } else if (death == Death.NEVER) {
      step.actions().forEach(this::act);
      writes += step.actions().size();
      report(announced, step.status());
    }
    return step;
  }

  private void report(PretrainJobStatus before, PretrainJobStatus status) {
    if (!status.equals(job.getStatus())) {
      events.addAll(Transition.between(before, status));
      milestones.add(Milestones.between(before, status, now));
      job.setStatus(status);
      writes++;
    }
  }

  void pass(int seconds) {
    now = now.plusSeconds(seconds);
  }

  /** All pods of the gang run. */
  void runAll() {
    pods.values().forEach(FakePod::run);
  }

  /** No node takes any pod yet. */
  void pend(boolean gated, String unschedulable) {
    pods.values().forEach(pod -> pod.pend(gated, false, null, unschedulable));
  }

  /** No node takes one pod. */
  void refuse(String pod, String unschedulable) {
    with(pod, p -> p.pend(false, false, null, unschedulable));
  }

  /** All pods have a node, and their containers wait. */
  void bind(String waiting) {
    pods.values().forEach(pod -> pod.pend(false, true, waiting, null));
  }

  /** The kubelet of one pod says what keeps it from starting. */
  void hamper(String pod, String by) {
    with(pod, p -> p.hamper(by));
  }

  /** What is now said of a pod's node. */
  void node(String pod, NodeState node) {
    with(pod, p -> p.on(node));
  }

  /** One pod runs. */
  void running(String pod) {
    with(pod, FakePod::run);
  }

  void exit(String pod, int code, String message) {
    with(pod, p -> p.exit(code, message, nodeTime()));
  }

  /** A pod's program ended in a way upon which its container will be started again. */
  void exitToReturn(String pod, int code) {
    with(pod, p -> p.exitToReturn(code, nodeTime()));
  }

  /** A pod's program ended and its container was started again. */
  void startAgain(String pod, int code) {
    with(pod, p -> p.startAgain(code, nodeTime()));
  }

  private Instant nodeTime() {
    return now.plus(nodesAhead);
  }

  private void with(String pod, Consumer<FakePod> happens) {
    Optional.ofNullable(pods.get(pod)).ifPresent(happens);
  }

  /** The uid of a pod. */
  String uid(String pod) {
    return pods.get(pod).uid();
  }

  void lose(String pod, PodReason reason) {
    with(pod, p -> p.lose(reason, nodeTime()));
  }

  /** The kubelet of a node turns a pod away. */
  void reject(String pod, String node) {
    with(pod, p -> p.reject(node, nodeTime()));
  }

  /** A pod as it was last made. */
  Pod made(String pod) {
    return made.get(pod);
  }

  void vanish(String pod) {
    pods.remove(pod);
  }

  /** Pods that were told to go are gone. */
  void finishDeletions() {
    pods.values().removeIf(FakePod::deleting);
  }

  /** What is annotated on the Service. */
  String annotation(String name) {
    return service.orElseThrow().getMetadata().getAnnotations().get(name);
  }

  /** Somebody annotates the Service. */
  void annotate(String name, String value) {
    service =
        service.map(
            s ->
                new ServiceBuilder(s)
                    .editMetadata()
                    .addToAnnotations(name, value)
                    .endMetadata()
                    .build());
  }

  Optional<NetworkPolicy> policy() {
    return policy;
  }

  /** Somebody deletes the NetworkPolicy. */
  void open() {
    policy = Optional.empty();
  }

  List<String> podNames() {
    return List.copyOf(pods.keySet());
  }

  List<String> configMapNames() {
    return List.copyOf(configMaps.keySet());
  }

  ConfigMap configMap(String name) {
    return configMaps.get(name);
  }

  List<Integer> generations() {
    return pods.values().stream().map(FakePod::generation).distinct().toList();
  }

  String reason() {
    return job.getStatus().condition(ConditionType.Ready).orElseThrow().reason();
  }

  String message() {
    return job.getStatus().condition(ConditionType.Ready).orElseThrow().message();
  }

  List<String> holding() {
    return job.getStatus().conditions().stream()
        .filter(Condition::holds)
        .map(Condition::type)
        .toList();
  }

  private void act(GangAction action) {
    switch (action) {
      case GangAction.ApplyService(var s) -> service = Optional.of(s);
      case GangAction.UpdateService(var s) -> service = Optional.of(s);
      case GangAction.ApplyNetworkPolicy(var p) -> policy = Optional.of(p);
      case GangAction.ApplyConfigMap(var c) -> configMaps.put(c.getMetadata().getName(), c);
      case GangAction.AdoptPod(var name, var uid, var index, var generation, var restarts) ->
          with(name, p -> p.adopt(index, generation));
      case GangAction.ShowPeers(var name, var uid, var generation) ->
          with(name, p -> p.show(generation));
      case GangAction.CreateConfigMap(var c) -> configMaps.put(c.getMetadata().getName(), c);
      case GangAction.DeleteConfigMap(var name) -> configMaps.remove(name);
      case GangAction.CreateGroup(var group) -> groups.add(group.getMetadata().getName());
      case GangAction.DeleteGroup(var apiVersion, var plural, var name) -> groups.remove(name);
      case GangAction.CreatePod(var pod) -> create(pod);
      case GangAction.DeletePod(var name, var uid, var grace) -> {
        graces.put(name, grace);
        FakePod pod = pods.get(name);
        if (pod != null && pod.uid().equals(uid)) {
          if (grace != null && grace == 0) {
            pods.remove(name);
          } else {
            pod.delete();
          }
        }
      }
    }
  }

  private void create(Pod pod) {
    FakePod created = new FakePod(pod, uids++);
    made.put(created.name(), pod);
    if (pods.putIfAbsent(created.name(), created) != null) {
      throw new IllegalStateException(created.name() + " is there already");
    }
  }
}
