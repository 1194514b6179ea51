package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.perigee.operator.LeaderElection;
import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.real.FaultProxy.Fate;
import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Clock;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Two replicas share a Lease on a real API server: one works, and the other takes over. */
class LeadershipIT {
  private static final String LEASE = "perigee";

  private static RealApi api;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  private static OperatorRuntime replica(KubernetesClient client, String namespace, String name) {
    return OperatorRuntime.start(
        client,
        RealApi.options(namespace, (host, port) -> Optional.empty(), Clock.systemUTC()),
        Optional.of(new LeaderElection(namespace, LEASE, name)));
  }

  private static String holder(String namespace) {
    Lease lease = api.client().leases().inNamespace(namespace).withName(LEASE).get();
    return lease == null ? "" : lease.getSpec().getHolderIdentity();
  }

  /** Starting a replica that follows does not return: it waits for the Lease. */
  private static CompletableFuture<OperatorRuntime> follower(
      KubernetesClient client, String namespace) {
    return CompletableFuture.supplyAsync(
        () -> replica(client, namespace, "second"), task -> Thread.ofVirtual().start(task));
  }

  private static void awaitGang(String namespace, String job) {
    PodPlay play = new PodPlay(api.client());
    await().atMost(Duration.ofSeconds(20)).until(() -> play.pods(namespace, job).size() == 2);
  }

  @Test
  void aLeaderThatIsCutOffStopsBeforeTheNextOneBeginsWithin15Seconds() throws Exception {
    String namespace = api.namespace("lead");
    AtomicBoolean cutOff = new AtomicBoolean();
    try (FaultProxy proxy =
            new FaultProxy(
                api.config(), request -> cutOff.get() ? new Fate.Drop() : new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime first = replica(client, namespace, "first")) {
      await().until(() -> holder(namespace).equals("first"));
      CompletableFuture<OperatorRuntime> second = follower(api.client(), namespace);
      api.createJob(namespace, "one");
      awaitGang(namespace, "one");
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
          "hand-over: the first stopped after %.1f s, the second led after %.1f s%n",
          (stopped.get() - began) / 1e9, took / 1e9);
      try (OperatorRuntime leads = second.get(20, TimeUnit.SECONDS)) {
        api.createJob(namespace, "two");
        awaitGang(namespace, "two");
        assertThat(leads.notReady()).isEmpty();
      }
    }
  }

  @Test
  void aLeaderThatIsToldToStopGivesTheLeaseToTheNext() throws Exception {
    String namespace = api.namespace("lead");
    CompletableFuture<OperatorRuntime> second;
    try (OperatorRuntime first = replica(api.client(), namespace, "first")) {
      await().until(() -> holder(namespace).equals("first"));
      second = follower(api.client(), namespace);
      api.createJob(namespace, "one");
      awaitGang(namespace, "one");
      assertThat(first.notReady()).isEmpty();
      assertThat(holder(namespace)).isEqualTo("first");
    }
    await().atMost(Duration.ofSeconds(6)).until(() -> holder(namespace).equals("second"));
    try (OperatorRuntime leads = second.get(20, TimeUnit.SECONDS)) {
      api.createJob(namespace, "two");
      awaitGang(namespace, "two");
      assertThat(leads.notReady()).isEmpty();
    }
  }
}
