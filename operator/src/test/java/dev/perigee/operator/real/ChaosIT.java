package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.operator.OperatorRuntime;
import dev.perigee.operator.real.FaultProxy.Fate;
import dev.perigee.operator.real.FaultProxy.Request;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Clock;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
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
        KubernetesClient client = proxy.client()) {
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
      dice = random.nextInt(20);
    }
    if (dice < 6) {
      broken.incrementAndGet();
    }
    return switch (dice) {
      case 0 -> new Fate.Refuse(409);
      case 1 -> new Fate.Refuse(429);
      case 2 -> new Fate.Refuse(500);
      case 3 -> new Fate.Refuse(503);
      case 4 -> new Fate.Drop();
      case 5 -> new Fate.Lose();
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
                heir[0] =
                    OperatorRuntime.start(
                        api.client(), RealApi.options(namespace, story::ask, Clock.systemUTC()));
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
