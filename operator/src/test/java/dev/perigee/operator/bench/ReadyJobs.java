package dev.perigee.operator.bench;

import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.Watch;
import io.fabric8.kubernetes.client.Watcher;
import io.fabric8.kubernetes.client.WatcherException;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Which jobs of a namespace were seen Ready: watched, because listing a thousand costs much. */
final class ReadyJobs implements Watcher<PretrainJob>, AutoCloseable {
  private final Set<String> names = ConcurrentHashMap.newKeySet();
  private final Watch watch;

  ReadyJobs(KubernetesClient client, String namespace) {
    watch = client.resources(PretrainJob.class).inNamespace(namespace).watch(this);
  }

  int count() {
    return names.size();
  }

  @Override
  public void eventReceived(Action action, PretrainJob job) {
    if (job.getStatus() != null && job.getStatus().holds(ConditionType.Ready)) {
      names.add(job.getMetadata().getName());
    }
  }

  @Override
  public void onClose(WatcherException e) {
    throw new IllegalStateException("the watch of the jobs ended", e);
  }

  @Override
  public void close() {
    watch.close();
  }
}
