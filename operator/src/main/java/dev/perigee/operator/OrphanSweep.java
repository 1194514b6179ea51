package dev.perigee.operator;

import dev.perigee.operator.placement.OrphanedGroups;
import dev.perigee.operator.placement.SchedulerDiscovery;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Clock;
import java.time.Duration;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Looks every few seconds for what deleted jobs left at their queue. Nobody reconciles a job that
 * is gone, so this is done beside the controller.
 */
final class OrphanSweep implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(OrphanSweep.class);
  private static final Duration EVERY = Duration.ofSeconds(10);

  private final KubernetesClient client;
  private final Supplier<Stream<Pod>> pods;
  private final Clock clock;
  private final SchedulerDiscovery schedulers;

  /** Told to begin after its end, it does nothing. */
  private final ScheduledExecutorService thread =
      new ScheduledThreadPoolExecutor(
          1,
          Thread.ofPlatform().name("orphans").daemon().factory(),
          new ThreadPoolExecutor.DiscardPolicy());

  /**
   * One that has not begun.
   *
   * @param pods the pods of all jobs, as they are known
   */
  OrphanSweep(KubernetesClient client, Supplier<Stream<Pod>> pods, Clock clock) {
    this.client = client;
    this.pods = pods;
    this.clock = clock;
    this.schedulers = new SchedulerDiscovery(clock);
  }

  /** Begins to look. */
  void start() {
    var _ =
        thread.scheduleWithFixedDelay(
            this::look, EVERY.toSeconds(), EVERY.toSeconds(), TimeUnit.SECONDS);
  }

  private void look() {
    try (Stream<Pod> known = pods.get()) {
      OrphanedGroups.giveBack(client, known, () -> schedulers.ask(client).kueue(), clock);
    } catch (RuntimeException e) { // an API server that is away comes back
      LOG.warn("what deleted jobs left at their queue is looked at again later", e);
    }
  }

  @Override
  public void close() {
    thread.shutdownNow();
  }
}
