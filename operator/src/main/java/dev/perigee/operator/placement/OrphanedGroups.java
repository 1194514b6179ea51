package dev.perigee.operator.placement;

import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.operator.gang.ExactDeletion;
import dev.perigee.operator.gang.WrittenTime;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.OwnerReference;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.Collection;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Stream;

/**
 * Workloads of Kueue that stay behind when a job is deleted. Kueue's finaliser keeps a deleted pod
 * until its program has ended, or until the Workload is gone. Of a pod on a node without a kubelet
 * nobody says that it has ended; the Workload belongs to its pods, and an owner more would not
 * help, because the garbage collector waits for all owners to go. So each would wait for the other,
 * and the quota would stay taken.
 *
 * <p>A finaliser on jobs would help as well, but no job could be deleted while there is no
 * operator. This is found again at any time, by any replica: the pods are still there to tell.
 */
public final class OrphanedGroups {
  /** By the API server's clock a pod had its whole grace by then, and its kubelet some time. */
  private static final Duration PATIENCE = Duration.ofSeconds(10);

  private OrphanedGroups() {}

  /**
   * A group whose job is gone.
   *
   * @param name the group's, which is the Workload's
   * @param jobs uids of the job
   * @param pods uids of pods that only the Workload keeps
   */
  record Orphan(String namespace, String job, String name, Set<String> jobs, Set<String> pods) {
    /** Whether a Workload is that of these pods, and not of a later group of its name. */
    boolean owns(GenericKubernetesResource workload) {
      return workload.getMetadata().getOwnerReferences().stream()
          .map(OwnerReference::getUid)
          .anyMatch(pods::contains);
    }
  }

  /**
   * Groups of which a pod is kept although its time is over, by job and group.
   *
   * @param pods pods of jobs
   */
  static Collection<Orphan> kept(Stream<Pod> pods, Instant now) {
    Map<String, Orphan> found = new TreeMap<>();
    pods.filter(pod -> isKept(pod, now))
        .forEach(
            pod -> {
              Orphan one = of(pod);
              found.merge(
                  one.namespace + "/" + one.name + "/" + one.jobs, one, OrphanedGroups::join);
            });
    return found.values();
  }

  private static boolean isKept(Pod pod, Instant now) {
    return pod.getMetadata().getFinalizers().contains(KueuePlacement.FINALIZER)
        && group(pod) != null
        && owners(pod).findAny().isPresent()
        && WrittenTime.read(pod.getMetadata().getDeletionTimestamp())
            .filter(end -> end.plus(PATIENCE).isBefore(now))
            .isPresent();
  }

  private static String group(Pod pod) {
    Map<String, String> labels = pod.getMetadata().getLabels();
    return labels == null ? null : labels.get(KueuePlacement.GROUP_NAME);
  }

  private static Stream<OwnerReference> owners(HasMetadata object) {
    return object.getMetadata().getOwnerReferences().stream()
        .filter(owner -> PretrainJob.KIND.equals(owner.getKind()));
  }

  private static Orphan of(Pod pod) {
    OwnerReference job = owners(pod).findAny().orElseThrow();
    return new Orphan(
        pod.getMetadata().getNamespace(),
        job.getName(),
        group(pod),
        Set.of(job.getUid()),
        Set.of(pod.getMetadata().getUid()));
  }

  private static Orphan join(Orphan a, Orphan b) {
    Set<String> pods = new HashSet<>(a.pods);
    pods.addAll(b.pods);
    return new Orphan(a.namespace, a.job, a.name, a.jobs, pods);
  }

  /**
   * Gives back what is kept of jobs that are gone, or going and waiting for their pods, or over.
   * The quota matters more than the logs of a job that is over, whose pods Kueue then deletes.
   *
   * @param pods pods of jobs, as they are known
   * @param version of {@code kueue.x-k8s.io} that is served; asked for only when it matters
   * @throws KubernetesClientException when the API server refuses
   */
  public static void giveBack(
      KubernetesClient client, Stream<Pod> pods, Supplier<Optional<String>> version, Clock clock) {
    Collection<Orphan> kept = kept(pods, clock.instant());
    if (!kept.isEmpty()) {
      version
          .get()
          .ifPresent(
              served ->
                  kept.stream()
                      .filter(orphan -> !isAlive(client, orphan))
                      .forEach(orphan -> giveBack(client, orphan, served)));
    }
  }

  /** Asked for anew: what is known of jobs may be older than what is known of pods. */
  private static boolean isAlive(KubernetesClient client, Orphan orphan) {
    return Optional.ofNullable(
            client
                .resources(PretrainJob.class)
                .inNamespace(orphan.namespace)
                .withName(orphan.job)
                .get())
        .filter(job -> orphan.jobs.contains(job.getMetadata().getUid()))
        .filter(job -> job.getMetadata().getDeletionTimestamp() == null && !isOver(job))
        .isPresent();
  }

  private static boolean isOver(PretrainJob job) {
    return job.getStatus() != null
        && (job.getStatus().holds(ConditionType.Complete)
            || job.getStatus().holds(ConditionType.Failed));
  }

  private static void giveBack(KubernetesClient client, Orphan orphan, String version) {
    String path =
        "/apis/%s/%s/namespaces/%s/workloads/%s"
            .formatted(KueuePlacement.GROUP, version, orphan.namespace, orphan.name);
    String json = client.raw(path);
    if (json == null) {
      return; // gone already
    }
    GenericKubernetesResource workload =
        client.getKubernetesSerialization().unmarshal(json, GenericKubernetesResource.class);
    if (workload.getMetadata().getDeletionTimestamp() != null || !orphan.owns(workload)) {
      return;
    }
    ExactDeletion.delete(client, path, workload.getMetadata().getUid());
  }
}
