package dev.perigee.operator;

import dev.perigee.api.PretrainJob;
import java.util.List;

/**
 * What the operator does to the cluster, as Kubernetes' access control writes it: the chart's roles
 * grant exactly this, and {@link InstallCheck} asks for exactly this.
 *
 * @param group API group, empty for the core
 * @param resource plural name, with the subresource after a slash
 * @param verbs what is done to it
 */
public record Rights(String group, String resource, List<String> verbs) {
  /** In every namespace whose jobs are run. */
  public static final List<Rights> OF_JOBS =
      List.of(
          // Deleted when ttlSecondsAfterFinished has passed.
          new Rights(PretrainJob.GROUP, "pretrainjobs", List.of("get", "list", "watch", "delete")),
          // Server-side apply of the status, never of the spec.
          new Rights(PretrainJob.GROUP, "pretrainjobs/status", List.of("patch")),
          // Clusters that enforce it ask this of whoever sets blockOwnerDeletion.
          new Rights(PretrainJob.GROUP, "pretrainjobs/finalizers", List.of("update")),
          // Patched when a restart keeps them: which start they belong to.
          new Rights("", "pods", List.of("list", "watch", "create", "patch", "delete")),
          // Server-side apply creates what is absent, which needs both.
          new Rights("", "configmaps", List.of("list", "watch", "create", "patch", "delete")),
          new Rights("", "services", List.of("list", "watch", "create", "patch")),
          // Read of a pod that takes long to start: only they say why.
          new Rights("", "events", List.of("list", "create")),
          // One for each gang, where the installation closes gangs to others.
          new Rights(
              "networking.k8s.io", "networkpolicies", List.of("list", "watch", "create", "patch")),
          // What stands for a gang at its scheduler: ours to make, and to read whose it is; or
          // Kueue's own to give back, and to read why it waits.
          new Rights("scheduling.k8s.io", "podgroups", List.of("get", "create", "delete")),
          new Rights("scheduling.volcano.sh", "podgroups", List.of("get", "create", "delete")),
          new Rights("kueue.x-k8s.io", "workloads", List.of("get", "delete")));

  /** Where the whole cluster is watched: without it a lost node is noticed by its pods. */
  public static final List<Rights> OF_CLUSTER =
      List.of(new Rights("", "nodes", List.of("get", "list", "watch")));

  /** In the operator's own namespace, for the Lease that replicas share. */
  public static final List<Rights> OF_ELECTION =
      List.of(
          new Rights("coordination.k8s.io", "leases", List.of("get", "create", "update", "patch")));

  /** Rights. */
  public Rights {
    verbs = List.copyOf(verbs);
  }
}
