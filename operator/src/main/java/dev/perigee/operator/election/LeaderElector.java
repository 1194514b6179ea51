package dev.perigee.operator.election;

import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.api.model.coordination.v1.LeaseBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.NamespacedKubernetesClient;
import io.fabric8.kubernetes.client.RequestConfigBuilder;
import java.net.HttpURLConnection;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.function.LongSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One replica in an election, until it is closed or has lost what it won. It leads at most once: a
 * replica that lost the Lease has to end, because what it was about to write may still be on its
 * way.
 */
public final class LeaderElector implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(LeaderElector.class);

  /** A tenth more or less, so that replicas do not ask in step. */
  private static final double JITTER = 0.1;

  /** How long closing waits for a request that is on its way. */
  private static final Duration PATIENCE = Duration.ofSeconds(2);

  private final LeaderElection election;
  private final LeaseStore store;
  private final LongSupplier time;
  private final Runnable onWon;
  private final Runnable onLost;
  private final ReentrantLock asking = new ReentrantLock();
  private final CountDownLatch over = new CountDownLatch(1);

  private Optional<LeaseSighting> seen = Optional.empty();
  private volatile boolean leading;
  private volatile long renewed;

  LeaderElector(
      LeaderElection election,
      LeaseStore store,
      LongSupplier time,
      Runnable onWon,
      Runnable onLost) {
    this.election = election;
    this.store = store;
    this.time = time;
    this.onWon = onWon;
    this.onLost = onLost;
  }

  /**
   * Takes part from now on.
   *
   * @param onWon is called once, when this replica leads
   * @param onLost is called once, when it no longer does though nobody closed this
   * @throws KubernetesClientException when the API server does not let this replica read the Lease
   */
  public static LeaderElector start(
      KubernetesClient client, LeaderElection election, Runnable onWon, Runnable onLost) {
    LeaseStore store = new ApiLease(client, election);
    store.read(); // rights that are missing are said at once, and not every two seconds
    LeaderElector elector = new LeaderElector(election, store, System::nanoTime, onWon, onLost);
    Thread.ofVirtual().name("election").start(elector::run);
    return elector;
  }

  private void run() {
    try {
      while (over.getCount() > 0) {
        ask();
        long pause = LeaderElection.RETRY.toNanos();
        double share = 1 + ThreadLocalRandom.current().nextDouble(-JITTER, JITTER);
        if (over.await((long) (pause * share), TimeUnit.NANOSECONDS)) {
          return;
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Looks at the Lease once, and takes or renews it where that is allowed. */
  void ask() {
    asking.lock();
    try {
      if (over.getCount() > 0) {
        bid();
      }
    } catch (RuntimeException e) {
      // The API server, or the way to it; a leader's deadline goes on.
      boolean raced =
          e instanceof KubernetesClientException answer
              && answer.getCode() == HttpURLConnection.HTTP_CONFLICT;
      if (!raced) {
        LOG.warn("the Lease {} could not be asked for: {}", election.lease(), e.getMessage());
      }
    } finally {
      asking.unlock();
    }
  }

  private void bid() {
    long began = time.getAsLong();
    Optional<Lease> found = store.read();
    // One that somebody deleted is still its holder's, who makes it anew or stops.
    seen =
        found
            .map(lease -> LeaseSighting.of(lease, seen, began))
            .or(() -> seen.map(held -> held.deleted(began)));
    boolean open =
        seen.isEmpty() || seen.get().isOpenTo(election.identity(), LeaderElection.DURATION, began);
    if (!open) {
      if (leading) {
        lose("another replica holds the Lease: " + seen.get().holder());
      }
      return;
    }
    store.write(LeaseSighting.held(found.orElseGet(this::none), election));
    // From before the request: another replica cannot have seen the new time earlier.
    renewed = began;
    if (!leading) {
      leading = true;
      LOG.info("leading as {}", election.identity());
      Thread.ofVirtual().name("election-deadline").start(this::watch);
      won();
    }
  }

  private void won() {
    try {
      onWon.run();
    } catch (RuntimeException e) {
      LOG.error("cannot begin to work", e);
      lose("what leading begins with failed");
    }
  }

  private Lease none() {
    return new LeaseBuilder()
        .withNewMetadata()
        .withNamespace(election.namespace())
        .withName(election.lease())
        .endMetadata()
        .build();
  }

  /** Beside the requests, of which one may hang for longer than there is time. */
  private void watch() {
    try {
      while (over.getCount() > 0) {
        long left = renewed + LeaderElection.RENEW_DEADLINE.toNanos() - time.getAsLong();
        if (left <= 0) {
          lose(
              "the Lease could not be renewed for "
                  + LeaderElection.RENEW_DEADLINE.toSeconds()
                  + " s");
          return;
        }
        if (over.await(left, TimeUnit.NANOSECONDS)) {
          return;
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private synchronized void lose(String why) {
    if (over.getCount() > 0) {
      LOG.warn("no longer leading: {}", why);
      over.countDown();
      onLost.run();
    }
  }

  /**
   * Takes no further part. A Lease that is held is given back; when that fails, the next replica
   * waits until it has run out.
   */
  @Override
  public void close() {
    synchronized (this) {
      if (over.getCount() == 0) {
        return;
      }
      over.countDown();
    }
    try {
      if (!leading || !asking.tryLock(PATIENCE.toMillis(), TimeUnit.MILLISECONDS)) {
        return;
      }
      try {
        giveBack();
      } finally {
        asking.unlock();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void giveBack() {
    try {
      Optional<Lease> held =
          store.read().filter(l -> election.identity().equals(l.getSpec().getHolderIdentity()));
      // It carries its version: whoever has taken the Lease meanwhile keeps it.
      held.map(lease -> new LeaseBuilder(lease).editSpec().withHolderIdentity("").endSpec().build())
          .ifPresent(store::write);
    } catch (RuntimeException e) {
      LOG.info("the Lease was not given back: {}", e.getMessage());
    }
  }

  /** The Lease at the API server. */
  private record ApiLease(KubernetesClient client, LeaderElection election) implements LeaseStore {
    /** Two tries and more before the deadline; the client's own time-out is longer than that. */
    private static final Duration TIMEOUT = Duration.ofSeconds(2);

    @Override
    public Optional<Lease> read() {
      return Optional.ofNullable(
          soon(c -> c.leases().inNamespace(election.namespace()).withName(election.lease()).get()));
    }

    @Override
    public void write(Lease lease) {
      boolean isNew = lease.getMetadata().getResourceVersion() == null;
      soon(c -> isNew ? c.resource(owned(lease, c)).create() : c.resource(lease).update());
    }

    /** Only at first: some clusters ask of whoever changes owners that he may delete. */
    private Lease owned(Lease lease, KubernetesClient asking) {
      return LeaseOwner.ask(asking, election.namespace())
          .map(
              owner ->
                  new LeaseBuilder(lease)
                      .editMetadata()
                      .withOwnerReferences(owner)
                      .endMetadata()
                      .build())
          .orElse(lease);
    }

    private <T> T soon(Function<KubernetesClient, T> request) {
      return client
          .adapt(NamespacedKubernetesClient.class)
          .withRequestConfig(
              new RequestConfigBuilder(client.getConfiguration().getRequestConfig())
                  .withRequestTimeout(Math.toIntExact(TIMEOUT.toMillis()))
                  .withRequestRetryBackoffLimit(0) // asked again anyway
                  .build())
          .call(request::apply);
    }
  }
}
