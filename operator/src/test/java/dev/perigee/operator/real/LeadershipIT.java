package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.election.LeaderElection;
import dev.perigee.operator.real.FaultProxy.Fate;
import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Clock;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Two replicas share a Lease on a real API server: one works, and the other takes over. */
class LeadershipIT {
  private static final String LEASE = "perigee";

  private static RealApi api;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  private static OperatorRuntime replica(KubernetesClient client, String namespace, String name) {
    return replica(client, namespace, name, Clock.systemUTC());
  }

  private static OperatorRuntime replica(
      KubernetesClient client, String namespace, String name, Clock clock) {
    return OperatorRuntime.start(
        client,
        RealApi.options(namespace, (host, port) -> Optional.empty(), clock),
        Optional.of(new LeaderElection(namespace, LEASE, name, clock)));
  }

  private static String holder(String namespace) {
    Lease lease = api.client().leases().inNamespace(namespace).withName(LEASE).get();
    return lease == null ? "" : lease.getSpec().getHolderIdentity();
  }

  private static void awaitGang(String namespace, String job) {
    PodPlay play = new PodPlay(api.client());
    await().atMost(Duration.ofSeconds(20)).until(() -> play.pods(namespace, job).size() == 2);
  }

  /** Whatever the clocks of the two say: the second's may be ahead or behind. */
  @ParameterizedTest
  @ValueSource(longs = {0, 60, -60})
  void aLeaderThatIsCutOffStopsBeforeTheNextOneBeginsWithin15Seconds(long ahead) throws Exception {
    String namespace = api.namespace("lead");
    Clock skewed = Clock.offset(Clock.systemUTC(), Duration.ofSeconds(ahead));
    AtomicBoolean cutOff = new AtomicBoolean();
    try (FaultProxy proxy =
            new FaultProxy(
                api.config(), request -> cutOff.get() ? new Fate.Drop() : new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime first = replica(client, namespace, "first");
        OperatorRuntime second = awaited(first, namespace, skewed)) {
      api.createJob(namespace, "one");
      awaitGang(namespace, "one");
      // For as long as a replica that goes by its own clock would wait, and more.
      await()
          .during(Duration.ofSeconds(ahead == 0 ? 1 : 13))
          .atMost(Duration.ofSeconds(20))
          .until(() -> holder(namespace).equals("first"));
      assertThat(second.notReady()).isEmpty();
      CompletableFuture<Long> stopped =
          CompletableFuture.supplyAsync(
              () -> {
                try {
                  assertThat(first.awaitClose()).as("whether it was told to stop").isFalse();
                  return System.nanoTime();
                } catch (InterruptedException e) {
                  throw new IllegalStateException(e);
                }
              },
              task -> Thread.ofVirtual().start(task));

      cutOff.set(true);
      long began = System.nanoTime();
      await()
          .atMost(Duration.ofSeconds(15))
          .pollInterval(Duration.ofMillis(50))
          .until(() -> holder(namespace).equals("second"));
      long took = System.nanoTime() - began;

      assertThat(stopped).as("the first one's end").isDone();
      System.out.printf(
          "hand-over, clock %+d s: the first stopped after %.1f s, the second led after %.1f s%n",
          ahead, (stopped.get() - began) / 1e9, took / 1e9);
      api.createJob(namespace, "two");
      awaitGang(namespace, "two");
      assertThat(second.notReady()).isEmpty();
    }
  }

  private static OperatorRuntime awaited(OperatorRuntime first, String namespace, Clock clock) {
    await().until(() -> holder(namespace).equals("first"));
    assertThat(first.notReady()).isEmpty();
    return replica(api.client(), namespace, "second", clock);
  }

  @Test
  void aLeaderThatIsToldToStopGivesTheLeaseToTheNext() throws Exception {
    String namespace = api.namespace("lead");
    OperatorRuntime first = replica(api.client(), namespace, "first");
    try (OperatorRuntime second = awaited(first, namespace, Clock.systemUTC())) {
      api.createJob(namespace, "one");
      awaitGang(namespace, "one");
      assertThat(holder(namespace)).isEqualTo("first");
      first.close();
      assertThat(first.awaitClose()).as("whether it was told to stop").isTrue();
      await().atMost(Duration.ofSeconds(6)).until(() -> holder(namespace).equals("second"));
      api.createJob(namespace, "two");
      awaitGang(namespace, "two");
      assertThat(second.notReady()).isEmpty();
    }
  }
}
