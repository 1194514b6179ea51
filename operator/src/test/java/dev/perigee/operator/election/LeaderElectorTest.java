package dev.perigee.operator.election;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.api.model.coordination.v1.LeaseBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Two replicas with clocks of their own, and one Lease; time passes when the test says so. */
class LeaderElectorTest {
  private static final Instant NOON = Instant.parse("2026-01-01T12:00:00Z");

  /** A while that passes for everybody, in nanoseconds, from a time that is nobody's zero. */
  private final AtomicLong time = new AtomicLong(-Duration.ofDays(1).toNanos());

  private final FakeLease lease = new FakeLease();
  private final List<String> happened = new CopyOnWriteArrayList<>();
  private final List<LeaderElector> started = new ArrayList<>();

  @AfterEach
  void stop() {
    started.forEach(LeaderElector::close);
  }

  @ParameterizedTest
  @ValueSource(longs = {-86_400, -60, -11, 0, 11, 60, 86_400})
  void aReplicaTakesNothingFromOneThatWorksWhateverItsClockSays(long ahead) {
    LeaderElector first = replica("first", 0);
    LeaderElector second = replica("second", ahead);
    first.ask();
    for (int i = 0; i < 30; i++) {
      pass(2);
      first.ask();
      second.ask();
    }
    assertThat(happened).containsExactly("first leads");
    assertThat(lease.holder()).isEqualTo("first");
  }

  @ParameterizedTest
  @ValueSource(longs = {-86_400, -60, -11, 0, 11, 60, 86_400})
  void aReplicaTakesOverFromADeadOneWithin15SecondsWhateverItsClockSays(long ahead) {
    LeaderElector first = replica("first", 0);
    LeaderElector second = replica("second", ahead);
    first.ask();
    second.ask();
    pass(2);
    first.ask(); // and dies; the second sees it as late as it can
    double waited = 0;
    while (!happened.contains("second leads") && waited < 60) {
      pass(2.2);
      waited += 2.2;
      second.ask();
    }
    assertThat(happened).contains("second leads"); // the dead one's deadline may have said its own
    assertThat(waited).isBetween(9.0, 15.0);
  }

  @Test
  void whoSeesALeaseForTheFirstTimeWaitsEvenWhenItsTimesAreLongAgo() {
    replica("first", -100_000).ask();
    LeaderElector second = replica("second", 0);
    second.ask();
    pass(8.9);
    second.ask();
    assertThat(happened).containsExactly("first leads");
    pass(0.2);
    second.ask();
    assertThat(happened).contains("second leads");
    assertThat(lease.transitions()).isEqualTo(1);
  }

  @Test
  void aLeaseThatIsGivenBackIsTakenAtTheNextLook() {
    LeaderElector first = replica("first", 0);
    LeaderElector second = replica("second", -60);
    first.ask();
    second.ask();
    first.close();
    assertThat(lease.holder()).isEmpty();
    second.ask();
    assertThat(happened).containsExactly("first leads", "second leads");
  }

  @Test
  void aLeaseThatSomebodyDeletesIsNotTakenFromALeaderThatWorks() {
    LeaderElector first = replica("first", 0);
    LeaderElector second = replica("second", 0);
    first.ask();
    second.ask();
    lease.vanish();
    second.ask();
    assertThat(lease.read()).isEmpty();
    pass(2);
    first.ask();
    second.ask();
    assertThat(lease.holder()).isEqualTo("first");
    assertThat(happened).containsExactly("first leads");
    lease.vanish(); // and the first dies
    second.ask();
    pass(8.9);
    second.ask();
    assertThat(lease.read()).isEmpty();
    pass(0.2);
    second.ask();
    assertThat(lease.holder()).isEqualTo("second");
  }

  @Test
  void aLeaderThatHasLostTheLeaseSaysSoOnceAndNeverLeadsAgain() {
    LeaderElector first = replica("first", 0);
    first.ask();
    lease.write(
        new LeaseBuilder(lease.read().orElseThrow())
            .editSpec()
            .withHolderIdentity("thief")
            .endSpec()
            .build());
    first.ask();
    pass(60);
    first.ask();
    assertThat(happened).containsExactly("first leads", "first lost");
    assertThat(lease.holder()).isEqualTo("thief");
  }

  @Test
  void aLeaderWhoseRequestsFailStopsByItselfBeforeAnotherMayLead() {
    LeaderElector first = replica("first", 0);
    first.ask();
    lease.unreachable = true;
    pass(5.9);
    first.ask();
    assertThat(happened).containsExactly("first leads");
    pass(0.2);
    // Beside the requests, one of which may hang: nobody asks here.
    await().until(() -> happened.size() == 2);
    assertThat(happened).containsExactly("first leads", "first lost");
    assertThat(LeaderElection.RENEW_DEADLINE).isLessThan(LeaderElection.DURATION);
  }

  @Test
  void ofTwoThatAskAtOnceOneLeads() {
    LeaderElector second = replica("second", 0);
    lease.beforeWrite = () -> replica("first", 0).ask();
    second.ask();
    assertThat(happened).containsExactly("first leads");
    assertThat(lease.holder()).isEqualTo("first");
  }

  @Test
  void aLeaseThatSomebodyEmptiedIsTaken() {
    lease.write(
        new LeaseBuilder()
            .withNewMetadata()
            .withNamespace("perigee")
            .withName("perigee")
            .endMetadata()
            .build());
    replica("first", 0).ask();
    assertThat(happened).containsExactly("first leads");
    assertThat(lease.holder()).isEqualTo("first");
  }

  private LeaderElector replica(String name, long secondsAhead) {
    Clock clock = Clock.offset(Clock.fixed(NOON, ZoneOffset.UTC), Duration.ofSeconds(secondsAhead));
    LeaderElector elector =
        new LeaderElector(
            new LeaderElection("perigee", "perigee", name, new Passing(clock)),
            lease,
            time::get,
            () -> happened.add(name + " leads"),
            () -> happened.add(name + " lost"));
    started.add(elector);
    return elector;
  }

  private void pass(double seconds) {
    time.addAndGet((long) (seconds * 1e9));
  }

  /** A clock that goes on with the time of the test. */
  private final class Passing extends Clock {
    private final Clock begins;
    private final long since = time.get();

    Passing(Clock begins) {
      this.begins = begins;
    }

    @Override
    public Instant instant() {
      return begins.instant().plusNanos(time.get() - since);
    }

    @Override
    public ZoneOffset getZone() {
      return ZoneOffset.UTC;
    }

    @Override
    public Clock withZone(ZoneId zone) {
      throw new UnsupportedOperationException("Leases are in UTC");
    }
  }

  /** A Lease with versions, as the API server keeps it. */
  private static final class FakeLease implements LeaseStore {
    private Lease kept;
    private int version;
    boolean unreachable;
    Runnable beforeWrite;

    @Override
    public Optional<Lease> read() {
      if (unreachable) {
        throw new KubernetesClientException("connection refused");
      }
      return Optional.ofNullable(kept);
    }

    @Override
    public void write(Lease lease) {
      if (unreachable) {
        throw new KubernetesClientException("connection refused");
      }
      Runnable race = beforeWrite;
      beforeWrite = null;
      if (race != null) {
        race.run();
      }
      String expected = kept == null ? null : Integer.toString(version);
      if (!Objects.equals(lease.getMetadata().getResourceVersion(), expected)) {
        throw new KubernetesClientException("conflict", 409, null);
      }
      version++;
      kept =
          new LeaseBuilder(lease)
              .editMetadata()
              .withResourceVersion(Integer.toString(version))
              .endMetadata()
              .build();
    }

    void vanish() {
      kept = null;
    }

    String holder() {
      return kept.getSpec().getHolderIdentity();
    }

    int transitions() {
      return kept.getSpec().getLeaseTransitions();
    }
  }
}
