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
          new Rights(PretrainJob.GROUP, "pretrainjobs", List.of("get", "list", "watch")),
          // Server-side apply of the status, never of the spec.
          new Rights(PretrainJob.GROUP, "pretrainjobs/status", List.of("patch")),
          // Clusters that enforce it ask this of whoever sets blockOwnerDeletion.
          new Rights(PretrainJob.GROUP, "pretrainjobs/finalizers", List.of("update")),
          new Rights("", "pods", List.of("list", "watch", "create", "delete")),
          new Rights("", "configmaps", List.of("list", "watch", "create", "delete")),
          // Server-side apply creates what is absent, which needs both.
          new Rights("", "services", List.of("list", "watch", "create", "patch")),
          new Rights("", "events", List.of("create")));

  /** In the operator's own namespace, for the Lease that replicas share. */
  public static final List<Rights> OF_ELECTION =
      List.of(
          new Rights(
              "coordination.k8s.io", "leases", List.of("get", "create", "update", "patch")));

  /** Rights. */
  public Rights {
    verbs = List.copyOf(verbs);
  }
}
