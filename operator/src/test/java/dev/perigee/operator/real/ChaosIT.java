package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.real.FaultProxy.Fate;
import dev.perigee.operator.real.FaultProxy.Request;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.javaoperatorsdk.operator.OperatorException;
import io.vertx.core.VertxException;
import java.time.Clock;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The operator against a real API server that breaks, and killed at every step. */
class ChaosIT {
  private static RealApi api;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  @Test
  void anOperatorKilledAtAnyWriteOfAGangsLifeLosesNothingAndDoublesNothing() throws Exception {
    int writes = writesOfAnUndisturbedLife();
    assertThat(writes).isGreaterThan(10);
    List<Future<?>> lives = new ArrayList<>();
    try (ExecutorService threads = Executors.newFixedThreadPool(4)) {
      for (int n = 1; n <= writes; n++) {
        int at = n;
        // Before the write arrives, or after it has and before the operator hears of it.
        boolean arrives = n % 2 == 0;
        lives.add(
            threads.submit(
                () -> {
                  killedAt(at, arrives);
                  return null;
                }));
      }
    }
    for (int n = 1; n <= lives.size(); n++) {
      try {
        lives.get(n - 1).get();
      } catch (ExecutionException e) {
        throw new AssertionError("killed at write " + n + " of " + writes, e.getCause());
      }
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3})
  void requestsThatFailOrGetNoAnswerAndWatchesThatBreakLoseNothingAndDoubleNothing(long seed)
      throws InterruptedException {
    Random random = new Random(seed);
    AtomicInteger broken = new AtomicInteger();
    String namespace = api.namespace("faults");
    try (Story story = new Story(api, namespace);
        FaultProxy proxy = new FaultProxy(api.config(), request -> fate(request, random, broken));
        KubernetesClient client = proxy.client(Duration.ofSeconds(1), 0)) {
      // It must come up before it is tormented: without the first lists there is no operator.
      try (OperatorRuntime operator =
          OperatorRuntime.start(
              client, RealApi.options(namespace, story::ask, Clock.systemUTC()))) {
        assertThat(operator).isNotNull();
        AtomicInteger looks = new AtomicInteger();
        story.play(
            () -> {
              if (looks.incrementAndGet() % 8 == 0) {
                proxy.cutWatches();
              }
            });
      }
    }
    assertThat(broken).hasPositiveValue();
  }

  private static Fate fate(Request request, Random random, AtomicInteger broken) {
    boolean start = request.path().contains("customresourcedefinitions");
    if (start || !request.isWrite()) {
      return new Fate.Pass();
    }
    int dice;
    synchronized (random) {
      dice = random.nextInt(45);
    }
    if (dice < 9) {
      broken.incrementAndGet();
    }
    return switch (dice) {
      case 0 -> new Fate.Refuse(409);
      case 1 -> new Fate.Refuse(429);
      case 2 -> new Fate.Refuse(500);
      case 3 -> new Fate.Refuse(503);
      case 4 -> new Fate.Drop();
      case 5 -> new Fate.Lose();
      case 6 -> new Fate.Cut();
      case 7 -> new Fate.Hang(false);
      case 8 -> new Fate.Hang(true);
      default -> new Fate.Pass();
    };
  }

  /**
   * Everything that the operator asks may be refused, cut off in the middle of the answer or never
   * answered, from its first question on; and watches break off and are told that what they knew is
   * too old, so that all is listed anew.
   */
  @ParameterizedTest
  @ValueSource(longs = {1, 2})
  void readsThatFailOrHangLoseNothingAndDoubleNothing(long seed) throws InterruptedException {
    Random random = new Random(seed);
    Map<String, AtomicInteger> broken = new ConcurrentHashMap<>();
    String namespace = api.namespace("reads");
    try (Story story = new Story(api, namespace);
        FaultProxy proxy =
            new FaultProxy(
                api.config(),
                request -> {
                  Fate fate = fateOfARead(request, random);
                  broken
                      .computeIfAbsent(fate.toString(), name -> new AtomicInteger())
                      .incrementAndGet();
                  return fate;
                });
        KubernetesClient client = proxy.client(Duration.ofSeconds(1), 3)) {
      try (OperatorRuntime operator = startedAtLast(client, namespace, story)) {
        assertThat(operator).isNotNull();
        AtomicInteger looks = new AtomicInteger();
        story.play(
            () -> {
              if (looks.incrementAndGet() % 8 == 0) {
                proxy.cutWatches();
              }
            });
      }
    }
    assertThat(broken.toString()).contains("Hang", "Cut", "code=504", "code=410");
  }

  /** The operator would hear of nothing any more, and look well. */
  @Test
  void watchesThatAreNeverAnsweredAreOpenedAnew() throws InterruptedException {
    Set<String> hung = ConcurrentHashMap.newKeySet();
    String namespace = api.namespace("silent");
    try (Story story = new Story(api, namespace);
        FaultProxy proxy =
            new FaultProxy(
                api.config(),
                request ->
                    request.isWatch() && hung.add(request.path().split("\\?", 2)[0])
                        ? new Fate.Hang(true)
                        : new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime operator =
            OperatorRuntime.start(
                client, RealApi.options(namespace, story::ask, Clock.systemUTC()))) {
      assertThat(operator).isNotNull();
      story.play(() -> {});
    }
    assertThat(hung).anyMatch(path -> path.endsWith("/pods")).hasSize(6);
  }

  /** A kubelet starts it again until it comes up. */
  private static OperatorRuntime startedAtLast(
      KubernetesClient client, String namespace, Story story) {
    for (int i = 0; true; i++) {
      try {
        return OperatorRuntime.start(
            client, RealApi.options(namespace, story::ask, Clock.systemUTC()));
      } catch (OperatorException | KubernetesClientException | VertxException e) {
        if (i == 20) {
          throw e;
        }
      }
    }
  }

  private static Fate fateOfARead(Request request, Random random) {
    if (request.isWrite()) {
      return new Fate.Pass();
    }
    int dice;
    synchronized (random) {
      dice = random.nextInt(12);
    }
    return switch (dice) {
      case 0 -> new Fate.Refuse(request.isWatch() ? 410 : 429);
      case 1 -> new Fate.Refuse(500);
      case 2 -> new Fate.Refuse(504);
      case 3 -> new Fate.Hang(true);
      case 4 -> request.isWatch() ? new Fate.Refuse(410) : new Fate.Cut();
      default -> new Fate.Pass();
    };
  }

  private static int writesOfAnUndisturbedLife() throws InterruptedException {
    String namespace = api.namespace("calm");
    try (Story story = new Story(api, namespace);
        FaultProxy proxy = new FaultProxy(api.config(), request -> new Fate.Pass());
        KubernetesClient client = proxy.client();
        OperatorRuntime operator =
            OperatorRuntime.start(
                client, RealApi.options(namespace, story::ask, Clock.systemUTC()))) {
      assertThat(operator).isNotNull();
      story.play(() -> {});
      return (int) proxy.seen().stream().filter(Request::isWrite).count();
    }
  }

  private static void killedAt(int write, boolean arrives) throws InterruptedException {
    String namespace = api.namespace("kill");
    FaultProxy[] itself = new FaultProxy[1];
    try (Story story = new Story(api, namespace)) {
      AtomicInteger killed = new AtomicInteger();
      FaultProxy doomed =
          new FaultProxy(
              api.config(),
              request -> {
                if (request.write() < write) {
                  return new Fate.Pass();
                }
                itself[0].die();
                return killed.getAndIncrement() == 0 && arrives ? new Fate.Lose() : new Fate.Drop();
              });
      itself[0] = doomed;
      KubernetesClient first = doomed.client();
      OperatorRuntime victim =
          OperatorRuntime.start(first, RealApi.options(namespace, story::ask, Clock.systemUTC()));
      OperatorRuntime[] heir = new OperatorRuntime[1];
      try {
        story.play(
            () -> {
              if (killed.get() > 0 && heir[0] == null) {
                heir[0] = startedAtLast(api.client(), namespace, story);
              }
            });
      } finally {
        if (heir[0] != null) {
          heir[0].close();
        }
        doomed.close();
        victim.close();
        first.close();
      }
    }
  }
}
