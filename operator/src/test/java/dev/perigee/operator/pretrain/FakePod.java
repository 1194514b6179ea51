package dev.perigee.operator.pretrain;

import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.operator.gang.GangLabels;
import dev.perigee.operator.gang.NodeState;
import dev.perigee.operator.gang.PodState;
import dev.perigee.operator.gang.PodState.Phase;
import io.fabric8.kubernetes.api.model.Pod;
import java.time.Instant;
import java.util.Map;

/** A pod of a {@link FakeCluster}, to which things happen. */
final class FakePod {
  private final String name;
  private final int number;
  private final Long grace;
  private final int gangSize;

  private int index;
  private int generation;
  private Phase phase = Phase.Pending;
  private boolean ready;
  private boolean deleting;
  private String ip;
  private PodState.End end = PodState.End.NONE;
  private String waiting;
  private String trouble;
  private String unschedulable;
  private boolean gated;
  private int shown;
  private NodeState node;
  private boolean bound;
  private String host;
  private int restarts;
  private boolean waits;
  private boolean returns;

  /** As it is made, the nth of its cluster. */
  FakePod(Pod pod, int number) {
    Map<String, String> labels = pod.getMetadata().getLabels();
    this.name = pod.getMetadata().getName();
    this.host = "node-of-" + name;
    this.number = number;
    this.grace = pod.getSpec().getTerminationGracePeriodSeconds();
    this.gangSize = Integer.parseInt(labels.get(GangLabels.SIZE));
    this.index = Integer.parseInt(labels.getOrDefault(GangLabels.POD_INDEX, "-1"));
    this.generation = Integer.parseInt(labels.get(GangLabels.GENERATION));
  }

  /** What an operator reads of it. */
  PodState state() {
    return new PodState(
        name,
        uid(),
        index,
        generation,
        gangSize,
        shown,
        phase,
        ready,
        deleting,
        ip,
        grace,
        new PodState.Binding(gated, unschedulable, bound ? host : null, node),
        new PodState.Container(waiting, trouble, restarts, waits, returns),
        end);
  }

  String name() {
    return name;
  }

  String uid() {
    return "uid-" + number;
  }

  int generation() {
    return generation;
  }

  boolean deleting() {
    return deleting;
  }

  /** Somebody deletes it. */
  void delete() {
    deleting = true;
  }

  /** A kubelet turns it away. */
  void reject(String by, Instant when) {
    host = by;
    lose(PodReason.Rejected, when);
  }

  /** What is now said of its node. */
  void on(NodeState now) {
    node = now;
  }

  /** It waits to be scheduled, or on a node for its container. */
  void pend(boolean isGated, boolean isBound, String waitsFor, String notScheduledBecause) {
    phase = Phase.Pending;
    ready = false;
    ip = null;
    end = PodState.End.NONE;
    waiting = waitsFor;
    trouble = null;
    unschedulable = notScheduledBecause;
    gated = isGated;
    bound = isBound;
    node = null;
    returns = false;
  }

  /** Its kubelet says what keeps it from starting. */
  void hamper(String by) {
    trouble = by;
  }

  /** Its kubelet was made to show it the addresses of a start. */
  void show(int start) {
    shown = start;
  }

  /** It runs and is ready. */
  void run() {
    reach(Phase.Running);
    end = PodState.End.NONE;
  }

  /** Its program ends by itself. */
  void exit(int code, String saying, Instant when) {
    reach(code == 0 ? Phase.Succeeded : Phase.Failed);
    end = new PodState.End(code, null, saying, when);
  }

  /** Its program ends, and its container will be started again. */
  void exitToReturn(int code, Instant when) {
    exit(code, null, when);
    returns = true;
  }

  /** The cluster ends it. */
  void lose(PodReason why, Instant when) {
    reach(Phase.Failed);
    end = new PodState.End(null, why, null, when);
  }

  /** Its program ended, and its container was started again. */
  void startAgain(int code, Instant when) {
    restarts++;
    again(code, when, true);
  }

  /** It has a place in a start of the gang now. */
  void adopt(int place, int start) {
    index = place;
    generation = start;
    again(null, null, false);
  }

  private void again(Integer code, Instant when, boolean isWaiting) {
    phase = Phase.Running;
    ready = false;
    bound = true;
    end = new PodState.End(code, null, null, when);
    clear();
    waits = isWaiting;
  }

  private void reach(Phase reached) {
    phase = reached;
    ready = reached == Phase.Running;
    ip = "127.0.0." + (number + 2);
    bound = true;
    clear();
    waits = false;
  }

  private void clear() {
    waiting = null;
    trouble = null;
    unschedulable = null;
    gated = false;
    returns = false;
  }
}
