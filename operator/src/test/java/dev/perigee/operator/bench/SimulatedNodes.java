package dev.perigee.operator.bench;

import com.sun.net.httpserver.HttpServer;
import dev.perigee.run.RunConfig;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.Watch;
import io.fabric8.kubernetes.client.Watcher;
import io.fabric8.kubernetes.client.WatcherException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Nodes that start every pod at once: a pod that appears is marked Running and ready. All have one
 * loopback address, where a program answers {@code /status} for all of them and takes a step each
 * second.
 */
final class SimulatedNodes implements AutoCloseable {
  private static final String ADDRESS = "127.77.0.1";
  private static final int AT_ONCE = 32;

  private static final String RUNNING =
      """
      {"status": {"phase": "Running", "podIP": "%s", "podIPs": [{"ip": "%s"}],
       "conditions": [{"type": "Ready", "status": "True"}],
       "containerStatuses": [{"name": "trainer", "image": "x", "imageID": "x", "ready": true,
         "restartCount": 0, "state": {"running": {}}}]}}
      """
          .formatted(ADDRESS, ADDRESS);

  private static final PatchContext MERGE = PatchContext.of(PatchType.JSON_MERGE);

  private final KubernetesClient client;
  private final HttpServer status;
  private final Watch watch;
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
  private final Semaphore permits = new Semaphore(AT_ONCE);

  /** When a pod was first seen, by namespace. */
  private final Map<String, AtomicLong> lastBirth = new ConcurrentHashMap<>();

  private final Map<String, AtomicLong> births = new ConcurrentHashMap<>();
  private final AtomicLong running = new AtomicLong();

  SimulatedNodes(KubernetesClient client) throws IOException {
    this.client = client;
    status =
        HttpServer.create(new InetSocketAddress(ADDRESS, RunConfig.Network.DEFAULT.httpPort()), 0);
    status.setExecutor(threads);
    status.createContext(
        "/status",
        exchange -> {
          long second = step();
          byte[] said =
              """
              {"phase": "Training", "step": %d, "totalSteps": 100000000, "tokens": %d,
               "loss": 2.5, "updatedAt": "2026-01-01T00:00:00Z"}
              """
                  .formatted(second, second * 1024)
                  .getBytes(StandardCharsets.UTF_8);
          exchange.sendResponseHeaders(200, said.length);
          exchange.getResponseBody().write(said);
          exchange.close();
        });
    status.start();
    watch = client.pods().inAnyNamespace().withLabel("perigee.dev/job").watch(new Arrivals());
  }

  /** The step that all programs are at. */
  static long step() {
    return System.nanoTime() / 1_000_000_000L;
  }

  /** Pods that were ever seen in a namespace. */
  long births(String namespace) {
    return births.getOrDefault(namespace, new AtomicLong()).get();
  }

  /** When the last of them was seen, in {@link System#nanoTime}. */
  long lastBirth(String namespace) {
    return lastBirth.getOrDefault(namespace, new AtomicLong()).get();
  }

  /** Pods that were marked Running. */
  long running() {
    return running.get();
  }

  private void start(Pod pod) {
    try {
      permits.acquire();
      try {
        client
            .pods()
            .inNamespace(pod.getMetadata().getNamespace())
            .withName(pod.getMetadata().getName())
            .subresource("status")
            .patch(MERGE, RUNNING);
        running.incrementAndGet();
      } finally {
        permits.release();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (KubernetesClientException e) {
      if (e.getCode() != HttpURLConnection.HTTP_NOT_FOUND) {
        throw e;
      }
    }
  }

  @Override
  public void close() {
    watch.close();
    status.stop(0);
    threads.shutdownNow();
  }

  private final class Arrivals implements Watcher<Pod> {
    @Override
    public void eventReceived(Action action, Pod pod) {
      if (action == Action.ADDED && pod.getStatus().getPhase().equals("Pending")) {
        String namespace = pod.getMetadata().getNamespace();
        lastBirth.computeIfAbsent(namespace, n -> new AtomicLong()).set(System.nanoTime());
        births.computeIfAbsent(namespace, n -> new AtomicLong()).incrementAndGet();
        threads.execute(() -> start(pod));
      }
    }

    @Override
    public void onClose(WatcherException e) {
      throw new IllegalStateException("the watch of the simulated nodes ended", e);
    }
  }
}
