package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;

/** One write to the cluster. */
public sealed interface GangAction {
  /** Makes the Service be as given. */
  record ApplyService(Service service) implements GangAction {}

  /**
   * Makes the Service that is there be as given, unless it is another version by now: what is
   * remembered on it is then more than was known here.
   */
  record UpdateService(Service service) implements GangAction {}

  /** Makes a ConfigMap be as given. */
  record ApplyConfigMap(ConfigMap configMap) implements GangAction {}

  /** Makes the NetworkPolicy be as given. */
  record ApplyNetworkPolicy(NetworkPolicy policy) implements GangAction {}

  /**
   * Makes a pod that waits part of a start.
   *
   * @param index its place in the gang
   * @param restarts of its container until now
   */
  record AdoptPod(String name, String uid, int index, int generation, int restarts)
      implements GangAction {}

  /**
   * Changes a pod a little, upon which its kubelet looks at the pod's volumes anew. By itself it
   * does so once a minute.
   *
   * @param generation the start whose addresses it is to show
   */
  record ShowPeers(String name, String uid, int generation) implements GangAction {}

  /** Creates a ConfigMap that is not there. */
  record CreateConfigMap(ConfigMap configMap) implements GangAction {}

  /** Deletes the ConfigMap of a start that is over. */
  record DeleteConfigMap(String name) implements GangAction {}

  /** Creates what stands for the gang at its scheduler, where it is not there. */
  record CreateGroup(GenericKubernetesResource group) implements GangAction {}

  /** Deletes what stood for a start of the gang at its scheduler, where it is still there. */
  record DeleteGroup(String apiVersion, String plural, String name) implements GangAction {}

  /** Creates a pod that is not there. */
  record CreatePod(Pod pod) implements GangAction {}

  /**
   * Deletes exactly this pod.
   *
   * @param graceSeconds between SIGTERM and SIGKILL, null for the pod's own; 0 also forgets a pod
   *     whose node will never say that it ended
   */
  record DeletePod(String name, String uid, Long graceSeconds) implements GangAction {}
}
