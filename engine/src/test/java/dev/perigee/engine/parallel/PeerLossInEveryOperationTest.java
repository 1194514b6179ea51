package dev.perigee.engine.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Whatever the ranks are doing together when one goes, all the others end, and soon. */
@Timeout(60)
final class PeerLossInEveryOperationTest {
  private static final double LIMIT_SECONDS = 10;
  private static final int LARGE = 300_000;

  /** Every operation of {@link Collectives}. */
  @SuppressWarnings("ImmutableEnumChecker") // a function without state
  enum Operation {
    ALL_REDUCE_SUM(c -> c.allReduceSum(Tensor.zeros(100))),
    ALL_REDUCE_SUM_OF_MUCH(c -> c.allReduceSum(Tensor.zeros(LARGE))),
    ALL_REDUCE_MAX(c -> c.allReduceMax(Tensor.zeros(100))),
    ALL_REDUCE_FIGURES(c -> c.allReduceSum(new double[50])),
    REDUCE_SCATTER(c -> c.reduceScatterSum(Tensor.zeros(LARGE), shares(c))),
    ALL_GATHER(c -> c.allGather(Tensor.zeros(LARGE), shares(c))),
    ALL_GATHER_OF_PARTS(c -> c.allGather(Tensor.zeros(10), Tensor.zeros(10 * c.size()))),
    ALL_TO_ALL_COUNTS(c -> c.allToAllCounts(new int[c.size()])),
    ALL_TO_ALL(
        c -> {
          int[] rows = new int[c.size()];
          Arrays.fill(rows, 10);
          Tensor send = Tensor.zeros(10 * c.size(), 5000);
          c.allToAll(send, rows, Tensor.zeros(10 * c.size(), 5000), rows);
        }),
    BROADCAST(c -> c.broadcast(Tensor.zeros(LARGE), c.size() - 1)),
    SEND_AND_RECEIVE(
        c -> {
          c.send((c.index() + 1) % c.size(), 3, Tensor.zeros(LARGE));
          c.receive((c.index() + c.size() - 1) % c.size(), 3, Tensor.zeros(LARGE));
        }),
    BARRIER(Collectives::barrier);

    private final Consumer<Collectives> once;

    Operation(Consumer<Collectives> once) {
      this.once = once;
    }

    private static int[] shares(Collectives c) {
      int[] counts = new int[c.size()];
      Arrays.fill(counts, LARGE / c.size());
      return counts;
    }
  }

  @ParameterizedTest
  @EnumSource(Operation.class)
  void aPodThatGoesEndsEveryRankOfEveryPod(Operation operation) throws Exception {
    Pods pods = Pods.connect(3, 2);
    List<Integer> group = IntStream.range(0, 6).boxed().toList();
    CountDownLatch underWay = new CountDownLatch(6);
    List<Callable<Throwable>> ranks = new ArrayList<>();
    for (Fabric fabric : pods.fabrics()) {
      for (int rank : fabric.ranks()) {
        ranks.add(() -> operateForEver(fabric.collectives(rank, group), operation, underWay));
      }
    }
    double[] went = new double[1];
    ranks.add(
        () -> {
          underWay.await();
          Thread.sleep(50);
          went[0] = System.nanoTime();
          pods.fabrics().get(1).links().forEach(PeerLink::closeSocket);
          return null;
        });
    List<Throwable> ends = Pods.all(ranks);
    assertThat((System.nanoTime() - went[0]) / 1e9).isLessThan(LIMIT_SECONDS);
    assertThat(ends.subList(0, 6))
        .allSatisfy(
            e -> assertThat(e).isInstanceOf(LostPeerException.class).hasMessageContaining("lost"));
    pods.close();
  }

  @ParameterizedTest
  @EnumSource(Operation.class)
  void aThreadThatFailsEndsItsNeighbours(Operation operation) {
    Fabric fabric = Fabric.local(3);
    List<Integer> group = List.of(0, 1, 2);
    CountDownLatch underWay = new CountDownLatch(3);
    List<Throwable> ends = new ArrayList<>();
    long started = System.nanoTime();
    Throwable first =
        catchThrowable(
            () ->
                fabric.run(
                    rank -> {
                      Collectives c = fabric.collectives(rank, group);
                      if (rank == 1) {
                        operation.once.accept(c);
                        underWay.countDown();
                        underWay.await();
                        throw new IllegalStateException("for a test");
                      }
                      Throwable end = operateForEver(c, operation, underWay);
                      synchronized (ends) {
                        ends.add(end);
                      }
                      return null;
                    }));
    assertThat((System.nanoTime() - started) / 1e9).isLessThan(LIMIT_SECONDS);
    assertThat(first).hasMessage("for a test");
    assertThat(ends)
        .hasSize(2)
        .allSatisfy(
            e ->
                assertThat(e)
                    .isInstanceOf(LostPeerException.class)
                    .hasMessageContaining("rank 1 failed"));
  }

  private static Throwable operateForEver(
      Collectives c, Operation operation, CountDownLatch underWay) {
    return catchThrowable(
        () -> {
          operation.once.accept(c);
          underWay.countDown();
          while (true) {
            operation.once.accept(c);
          }
        });
  }
}
