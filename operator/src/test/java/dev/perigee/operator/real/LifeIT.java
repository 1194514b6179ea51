package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.api.GangAttempt;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.StatusProbe;
import dev.perigee.operator.real.FaultProxy.Fate;
import dev.perigee.operator.real.FaultProxy.Request;
import dev.perigee.operator.real.Story.Mishap;
import dev.perigee.run.RunStatus;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What may happen to a job on a real API server that works. */
class LifeIT {
  private static RealApi api;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  @ParameterizedTest
  @EnumSource(mode = EnumSource.Mode.EXCLUDE, names = "PROGRAM_DIES")
  void aPodDeletedInAnyPhaseRestartsTheGangOnceAndOnlyAProgramsEndCounts(Mishap mishap)
      throws InterruptedException {
    String namespace = api.namespace("phase");
    try (Story story = new Story(api, namespace, mishap, 0);
        OperatorRuntime operator =
            OperatorRuntime.start(
                api.client(), RealApi.options(namespace, story::ask, Clock.systemUTC()))) {
      assertThat(operator).isNotNull();
      story.play(() -> {});
    }
  }

  /** Stamps of API server and nodes are right. */
  @ParameterizedTest
  @ValueSource(ints = {-10, 10})
  void aClockThatIsTenMinutesOffLosesNothingAndDoublesNothing(int minutes)
      throws InterruptedException {
    String namespace = api.namespace("skew");
    Clock off = Clock.offset(Clock.systemUTC(), Duration.ofMinutes(minutes));
    try (Story story = new Story(api, namespace, Mishap.PROGRAM_DIES, 1);
        OperatorRuntime operator =
            OperatorRuntime.start(api.client(), RealApi.options(namespace, story::ask, off))) {
      assertThat(operator).isNotNull();
      story.play(() -> {});
    }
  }

  /** The first operator's clock is ahead; its successor's is right. */
  @Test
  void aClockThatWasAheadHoldsNothingUpAndCountsNothingTwice() throws InterruptedException {
    String namespace = api.namespace("skew");
    Clock ahead = Clock.offset(Clock.systemUTC(), Duration.ofHours(1));
    try (Story story = new Story(api, namespace, Mishap.PROGRAM_DIES, 1)) {
      AtomicReference<OperatorRuntime> operator =
          new AtomicReference<>(
              OperatorRuntime.start(api.client(), RealApi.options(namespace, story::ask, ahead)));
      boolean[] handedOver = {false};
      try {
        story.play(
            () -> {
              var status = story.job().getStatus();
              boolean waits =
                  status != null
                      && status.attempt() != null
                      && status.attempt().notBefore() != null;
              if (waits && !handedOver[0]) {
                handedOver[0] = true;
                operator.get().close();
                operator.set(
                    OperatorRuntime.start(
                        api.client(), RealApi.options(namespace, story::ask, Clock.systemUTC())));
              }
            });
      } finally {
        operator.get().close();
      }
      assertThat(handedOver[0]).isTrue();
    }
  }

  @Test
  void programsThatDoNotMeetAreShownTheAddressesByOneChangeOfEachPod() throws InterruptedException {
    String namespace = api.namespace("meet");
    api.createJob(namespace, "meet");
    PodPlay play = new PodPlay(api.client());
    RunStatus looking = Story.before(RunStatus.Phase.Rendezvous);
    try (OperatorRuntime operator =
        OperatorRuntime.start(
            api.client(),
            RealApi.options(namespace, (host, port) -> Optional.of(looking), Clock.systemUTC()))) {
      assertThat(operator).isNotNull();
      await().until(() -> play.pods(namespace, "meet").size() == 2);
      play.pods(namespace, "meet").forEach(play::bind);
      play.pods(namespace, "meet").forEach(play::run);
      await()
          .atMost(Duration.ofSeconds(20))
          .untilAsserted(
              () ->
                  assertThat(play.pods(namespace, "meet"))
                      .allSatisfy(
                          pod ->
                              assertThat(pod.getMetadata().getAnnotations())
                                  .containsEntry("perigee.dev/peers-shown", "1")));
      // A look between the two writes may repeat one, which then changes nothing.
      List<String> versions = versions(play.pods(namespace, "meet"));
      Thread.sleep(1000);
      assertThat(versions(play.pods(namespace, "meet"))).isEqualTo(versions);
    }
  }

  @Test
  void looksThatFindNothingNewWriteNothing() throws InterruptedException {
    String namespace = api.namespace("quiet");
    api.createJob(namespace, "quiet");
    PodPlay play = new PodPlay(api.client());
    try (FaultProxy proxy = new FaultProxy(api.config(), request -> new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime operator =
            OperatorRuntime.start(
                client,
                RealApi.options(
                    namespace, (host, port) -> Optional.of(Story.training()), Clock.systemUTC()))) {
      assertThat(operator).isNotNull();
      await().until(() -> play.pods(namespace, "quiet").size() == 2);
      play.pods(namespace, "quiet").forEach(play::bind);
      play.pods(namespace, "quiet").forEach(play::run);
      await()
          .until(
              () ->
                  api.job(namespace, "quiet").getStatus().conditions().stream()
                      .anyMatch(c -> c.type().equals("Ready") && c.holds()));
      Thread.sleep(1000); // what follows from the last news
      long before = writes(proxy);
      Thread.sleep(2000); // some twenty looks
      assertThat(writes(proxy)).isEqualTo(before);
    }
  }

  @Test
  void aStartThatTakesLongAsksForEventsNoMoreThanEachTenSeconds() throws InterruptedException {
    String namespace = api.namespace("slow");
    api.createJob(namespace, "slow");
    PodPlay play = new PodPlay(api.client());
    JumpingClock clock = new JumpingClock();
    try (FaultProxy proxy = new FaultProxy(api.config(), request -> new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime operator =
            OperatorRuntime.start(
                client, RealApi.options(namespace, (host, port) -> Optional.empty(), clock))) {
      assertThat(operator).isNotNull();
      await().until(() -> play.pods(namespace, "slow").size() == 2);
      play.pods(namespace, "slow").forEach(play::bind);
      await()
          .until(
              () ->
                  api.job(namespace, "slow").getStatus().attempt().phase()
                      == GangAttempt.Phase.ImagePull);
      assertThat(questions(proxy)).isZero();
      clock.ahead = Duration.ofSeconds(15);
      await().until(() -> questions(proxy) > 0);
      Thread.sleep(2000); // some twenty looks
      assertThat(questions(proxy)).isLessThanOrEqualTo(2);
      play.warn(play.pods(namespace, "slow").getFirst(), "FailedMount", "no such volume");
      clock.ahead = Duration.ofSeconds(30);
      await()
          .until(
              () ->
                  api.job(namespace, "slow").getStatus().conditions().stream()
                      .anyMatch(c -> c.reason().equals("PodSetup")));
    }
  }

  @Test
  void anOperatorThatNoLongerHearsOfNodesIsNotReadyUntilItDoes() {
    String namespace = api.namespace("nodes");
    AtomicBoolean refused = new AtomicBoolean();
    try (FaultProxy proxy =
            new FaultProxy(
                api.config(),
                request ->
                    refused.get() && request.path().startsWith("/api/v1/nodes")
                        ? new Fate.Refuse(403)
                        : new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime operator = start(client, namespace)) {
      assertThat(operator.notReady()).isEmpty();
      refused.set(true);
      proxy.cutWatches();
      await().until(() -> operator.notReady().equals(Optional.of("not watching: nodes")));
      refused.set(false);
      await().until(() -> operator.notReady().isEmpty());
    }
  }

  @Test
  void aDeletionThatIsRefusedIsSaidToBeOne() {
    String namespace = api.namespace("kept");
    api.createJob(namespace, "kept");
    PodPlay play = new PodPlay(api.client());
    try (FaultProxy proxy =
            new FaultProxy(
                api.config(),
                request ->
                    request.method().equals("DELETE") && request.path().contains("/pods/")
                        ? new Fate.Refuse(403)
                        : new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime operator = start(client, namespace)) {
      assertThat(operator).isNotNull();
      play.runGang(namespace, "kept");
      play.end(play.pods(namespace, "kept").getFirst(), 137);
      await()
          .untilAsserted(
              () ->
                  assertThat(refusal(namespace, "kept"))
                      .startsWith("delete Pod kept-")
                      .endsWith(": injected by the test"));
    }
  }

  /** Nothing is done about a failure before it is on record, so a job would stand still unsaid. */
  @Test
  void aRecordThatCannotBeWrittenIsInTheStatusUntilItIsWritten() {
    String namespace = api.namespace("record");
    api.createJob(namespace, "unwritten");
    PodPlay play = new PodPlay(api.client());
    AtomicBoolean refused = new AtomicBoolean();
    try (FaultProxy proxy =
            new FaultProxy(
                api.config(),
                request ->
                    refused.get()
                            && request.method().equals("PATCH")
                            && request.path().contains("/services/")
                        ? new Fate.Refuse(403)
                        : new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime operator = start(client, namespace)) {
      assertThat(operator).isNotNull();
      play.runGang(namespace, "unwritten");
      refused.set(true);
      play.end(play.pods(namespace, "unwritten").getFirst(), 137);
      await()
          .untilAsserted(
              () ->
                  assertThat(refusal(namespace, "unwritten"))
                      .isEqualTo("apply Service unwritten: injected by the test"));
      assertThat(status(namespace, "unwritten").restarts()).as("not on record yet").isZero();
      await().until(() -> events(namespace).contains("CreationRefused"));
      refused.set(false);
      await()
          .atMost(Duration.ofSeconds(60))
          .until(() -> Integer.valueOf(1).equals(status(namespace, "unwritten").restarts()));
      await()
          .until(
              () ->
                  !status(namespace, "unwritten")
                      .condition(ConditionType.Ready)
                      .orElseThrow()
                      .reason()
                      .equals("CreationRefused"));
      assertThat(events(namespace)).filteredOn("CreationRefused"::equals).hasSize(1);
    }
  }

  private static OperatorRuntime start(KubernetesClient client, String namespace) {
    return OperatorRuntime.start(
        client, RealApi.options(namespace, (host, port) -> Optional.empty(), Clock.systemUTC()));
  }

  /** What the status says of a write that was refused; that it says so is asserted. */
  private static String refusal(String namespace, String job) {
    Optional<Condition> ready = status(namespace, job).condition(ConditionType.Ready);
    assertThat(ready.map(Condition::reason)).hasValue("CreationRefused");
    return ready.orElseThrow().message();
  }

  private static PretrainJobStatus status(String namespace, String job) {
    return api.job(namespace, job).getStatus();
  }

  private static List<String> events(String namespace) {
    return api.client().v1().events().inNamespace(namespace).list().getItems().stream()
        .map(event -> event.getReason())
        .toList();
  }

  private static long questions(FaultProxy proxy) {
    return proxy.seen().stream()
        .filter(request -> request.method().equals("GET") && request.path().contains("/events?"))
        .count();
  }

  @Test
  void aJobDeletedWhileItRestartsGetsNoMorePods() throws InterruptedException {
    String namespace = api.namespace("gone");
    api.createJob(namespace, "gone");
    PodPlay play = new PodPlay(api.client());
    try (OperatorRuntime operator =
        OperatorRuntime.start(
            api.client(),
            RealApi.options(namespace, (host, port) -> Optional.empty(), Clock.systemUTC()))) {
      assertThat(operator).isNotNull();
      play.runGang(namespace, "gone");
      play.end(play.pods(namespace, "gone").getFirst(), 137);
      await()
          .until(
              () ->
                  play.pods(namespace, "gone").stream()
                      .allMatch(p -> p.getMetadata().getDeletionTimestamp() != null));
      api.client().resource(api.job(namespace, "gone")).delete();
      await().until(() -> api.job(namespace, "gone") == null);
      Thread.sleep(500); // a look that had begun ends
      play.pods(namespace, "gone").forEach(play::letGo);
      List<String> left = uids(play.pods(namespace, "gone"));
      Thread.sleep(1500);
      assertThat(uids(play.pods(namespace, "gone"))).isEqualTo(left);
    }
  }

  /** As {@code kubectl replace --force} does while the operator looks at the job. */
  @Test
  void whatIsSaidOfAJobIsNotWrittenToALaterOneOfItsName() throws InterruptedException {
    String namespace = api.namespace("replaced");
    api.createJob(
        namespace, "same", job -> job.withObject("/spec").put("activeDeadlineSeconds", 600));
    String uid = api.job(namespace, "same").getMetadata().getUid();
    PodPlay play = new PodPlay(api.client());
    JumpingClock clock = new JumpingClock();
    AtomicInteger asked = new AtomicInteger();
    StatusProbe probe =
        (host, port) -> {
          switch (asked.incrementAndGet()) {
            case 1 -> clock.ahead = Duration.ofHours(1);
            case 2 -> { // of a look at which the deadline has passed
              api.client().resource(api.job(namespace, "same")).delete();
              api.createJob(namespace, "same");
            }
            default -> {}
          }
          return Optional.empty();
        };
    try (OperatorRuntime operator =
        OperatorRuntime.start(api.client(), RealApi.options(namespace, probe, clock))) {
      assertThat(operator).isNotNull();
      await().until(() -> play.pods(namespace, "same").size() == 2);
      play.pods(namespace, "same").forEach(play::bind);
      play.pods(namespace, "same").forEach(play::run);
      await().until(() -> asked.get() >= 2);
      Thread.sleep(3000);
      PretrainJob later = api.job(namespace, "same");
      assertThat(later.getMetadata().getUid()).isNotEqualTo(uid);
      assertThat(later.getStatus().condition(ConditionType.Ready).orElseThrow().message())
          .startsWith("Waits until what is left of an earlier job of this name is deleted");
      assertThat(later.getStatus().startTime()).isNull();
    }
  }

  /** A clock that is set forward. */
  private static final class JumpingClock extends Clock {
    private volatile Duration ahead = Duration.ZERO;

    @Override
    public Instant instant() {
      return Instant.now().plus(ahead);
    }

    @Override
    public ZoneId getZone() {
      return ZoneOffset.UTC;
    }

    @Override
    public Clock withZone(ZoneId zone) {
      throw new UnsupportedOperationException("what is written is in UTC");
    }
  }

  private static List<String> versions(List<? extends HasMetadata> objects) {
    return objects.stream().map(o -> o.getMetadata().getResourceVersion()).toList();
  }

  private static List<String> uids(List<? extends HasMetadata> objects) {
    return objects.stream().map(o -> o.getMetadata().getUid()).toList();
  }

  private static long writes(FaultProxy proxy) {
    return proxy.seen().stream().filter(Request::isWrite).count();
  }
}
