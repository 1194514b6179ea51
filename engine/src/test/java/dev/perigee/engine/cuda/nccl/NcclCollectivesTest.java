package dev.perigee.engine.cuda.nccl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.FakeGpu;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.Fellowship;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.tensor.Tensor;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The same operations through a fake of NCCL and among threads give the same numbers. */
@Timeout(60)
final class NcclCollectivesTest {
  private static NcclMember.Line line(FakeGpu gpu, boolean idle) {
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    return new NcclMember.Line(gpu, gpu, gpu, backend::zeros, FakeNccl.STREAM, () -> idle);
  }

  /** Whole numbers, whose sums are exact in any order. */
  private static Tensor numbers(int rank, int... shape) {
    Tensor x = Tensor.zeros(shape);
    for (int i = 0; i < x.size(); i++) {
      x.floats()[i] = (i * 7 + rank * 13) % 101 - 50;
    }
    return x;
  }

  /** Everything that one rank gets out of every operation, its tensors where {@code on} says. */
  private static String operate(Collectives c, java.util.function.UnaryOperator<Tensor> on) {
    StringBuilder got = new StringBuilder();
    int n = c.size();
    int rank = c.index();
    Tensor sum = on.apply(numbers(rank, 37));
    c.allReduceSum(sum);
    write(got, sum);
    Tensor max = on.apply(numbers(rank, 5, 3));
    c.allReduceMax(max);
    write(got, max);
    double[] figures = {rank + 1, 0.5};
    c.allReduceSum(figures);
    got.append(Arrays.toString(figures));
    int[] shares = IntStream.range(0, n).map(i -> i == 1 ? 0 : 3 + i).toArray();
    int size = Arrays.stream(shares).sum();
    int start = Arrays.stream(shares, 0, rank).sum();
    Tensor scattered = on.apply(numbers(rank, size));
    c.reduceScatterSum(scattered, shares);
    write(got, scattered.slice(start, shares[rank]));
    Tensor gathered = on.apply(numbers(rank, size));
    c.allGather(gathered, shares);
    write(got, gathered);
    int[] equal = IntStream.range(0, n).map(i -> 4).toArray();
    Tensor equally = on.apply(numbers(rank, 4 * n));
    c.reduceScatterSum(equally, equal);
    write(got, equally.slice(4 * rank, 4));
    Tensor together = on.apply(numbers(rank, 4 * n));
    c.allGather(together, equal);
    write(got, together);
    Tensor whole = on.apply(Tensor.zeros(4 * n));
    c.allGather(on.apply(numbers(rank, 4)), whole);
    write(got, whole);
    Tensor sent = on.apply(numbers(rank, 9));
    c.broadcast(sent, n - 1);
    write(got, sent);
    int[] rows = IntStream.range(0, n).map(to -> (rank + 2 * to) % 3).toArray();
    int[] coming = c.allToAllCounts(rows);
    got.append(Arrays.toString(coming));
    Tensor out = on.apply(numbers(rank, Arrays.stream(rows).sum(), 6));
    Tensor in = on.apply(Tensor.zeros(Arrays.stream(coming).sum(), 6));
    c.allToAll(out, rows, in, coming);
    write(got, in);
    c.barrier();
    return got.toString();
  }

  private static void write(StringBuilder got, Tensor x) {
    Tensor host = x.onHost();
    got.append(
        Arrays.toString(
            Arrays.copyOfRange(host.floats(), host.offset(), host.offset() + host.size())));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3})
  void everyOperationGivesWhatThreadsGive(int ranks) throws Exception {
    List<Integer> all = IntStream.range(0, ranks).boxed().toList();
    Fabric threads = Fabric.local(ranks);
    List<String> expected = threads.run(r -> operate(threads.collectives(r, all), x -> x));
    for (boolean onDevice : new boolean[] {true, false}) {
      FakeNccl.World world = new FakeNccl.World();
      Fabric fabric = Fabric.local(ranks);
      List<String> got =
          fabric.run(
              r -> {
                FakeGpu gpu = new FakeGpu();
                CudaBackend backend = gpu.backend(Precision.FP32, true);
                FakeNccl nccl = new FakeNccl(world, gpu);
                try (NcclCollectives c =
                    NcclCollectives.join(
                        nccl, line(gpu, true), fabric.collectives(r, all), fabric)) {
                  return operate(c, x -> onDevice ? copied(backend, x) : x);
                }
              });
      assertThat(got).isEqualTo(expected);
    }
  }

  private static Tensor copied(CudaBackend backend, Tensor x) {
    Tensor there = new Tensor(backend.arena().take(x.size()).storage(), 0, x.shape());
    there.assign(x);
    return there;
  }

  @Test
  void whatOneRankSendsTheOtherReceives() throws Exception {
    FakeNccl.World world = new FakeNccl.World();
    Fabric fabric = Fabric.local(2);
    fabric.run(
        r -> {
          FakeGpu gpu = new FakeGpu();
          NcclCollectives c =
              NcclCollectives.join(
                  new FakeNccl(world, gpu),
                  line(gpu, true),
                  fabric.collectives(r, List.of(0, 1)),
                  fabric);
          if (r == 0) {
            c.send(1, 4, numbers(0, 11));
          } else {
            Tensor x = Tensor.zeros(11);
            c.receive(0, 4, x);
            assertThat(x.floats()).isEqualTo(numbers(0, 11).floats());
          }
          return null;
        });
  }

  @Test
  void equalSharesAreOneCallAndOthersACallForEach() throws Exception {
    FakeNccl.World world = new FakeNccl.World();
    Fabric fabric = Fabric.local(2);
    List<List<String>> records =
        fabric.run(
            r -> {
              FakeGpu gpu = new FakeGpu();
              FakeNccl nccl = new FakeNccl(world, gpu);
              try (NcclCollectives c =
                  NcclCollectives.join(
                      nccl, line(gpu, true), fabric.collectives(r, List.of(0, 1)), fabric)) {
                c.reduceScatterSum(Tensor.zeros(6), new int[] {3, 3});
                c.reduceScatterSum(Tensor.zeros(6), new int[] {4, 2});
                c.allGather(Tensor.zeros(6), new int[] {3, 3});
                c.allGather(Tensor.zeros(6), new int[] {0, 6});
              }
              return nccl.record;
            });
    assertThat(records)
        .allSatisfy(
            record ->
                assertThat(record)
                    .containsExactly(
                        "REDUCE_SCATTER 6 FLOAT32",
                        "REDUCE 4 FLOAT32 0",
                        "REDUCE 2 FLOAT32 1",
                        "ALL_GATHER 3 FLOAT32",
                        "BROADCAST 6 FLOAT32 1",
                        "destroy"));
  }

  @Test
  void anExchangeOfAnotherThreadWaitsForWhatWasComputedWhenItWasAskedFor() throws Exception {
    FakeNccl.World world = new FakeNccl.World();
    Fabric fabric = Fabric.local(2);
    int[] rows = {2, 2};
    fabric.run(
        r -> {
          FakeGpu gpu = new FakeGpu();
          CudaBackend backend = gpu.backend(Precision.FP32, true);
          try (NcclCollectives c =
              NcclCollectives.join(
                  new FakeNccl(world, gpu),
                  line(gpu, true),
                  fabric.collectives(r, List.of(0, 1)),
                  fabric)) {
            Tensor send = copied(backend, numbers(r, 4, 3));
            Tensor expected = copied(backend, Tensor.zeros(4, 3));
            c.allToAll(send, rows, expected, rows);
            assertThat(gpu.waitsForAll).isEqualTo(1);
            c.allToAll(numbers(r, 4, 3), rows, Tensor.zeros(4, 3), rows);
            assertThat(gpu.waitsForAll).as("numbers on the host wait for none").isEqualTo(1);
            Tensor receive = copied(backend, Tensor.zeros(4, 3));
            Tensor nothing = copied(backend, Tensor.zeros(0, 3));
            int before = gpu.waits;
            Thread other =
                Thread.ofPlatform()
                    .start(
                        backend.fromHere(
                            () -> {
                              c.allToAll(send, rows, receive, rows);
                              c.allToAll(nothing, new int[2], nothing, new int[2]);
                            }));
            other.join();
            assertThat(gpu.waits - before).isEqualTo(2);
            assertThat(gpu.waitsForAll).isEqualTo(1);
            assertThat(receive.onHost().floats()).isEqualTo(expected.onHost().floats());
          }
          return null;
        });
  }

  @Test
  void countsThatAreNoSharesAreRefused() {
    FakeGpu gpu = new FakeGpu();
    FakeNccl nccl = new FakeNccl(new FakeNccl.World(), gpu);
    NcclCollectives c =
        NcclCollectives.join(nccl, line(gpu, true), Collectives.solo(), Fellowship.ALONE);
    c.allToAllCounts(new int[] {3});
    c.close();
    assertThat(nccl.record).containsExactly("SEND 1 INT32 0", "RECEIVE 1 INT32 0", "destroy");
    assertThatThrownBy(() -> c.reduceScatterSum(Tensor.zeros(5), new int[] {4}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("[4]");
  }

  @Test
  void aPeerThatNcclHasLostEndsTheWaitAndEverythingLater() {
    FakeGpu gpu = new FakeGpu();
    FakeNccl nccl = new FakeNccl(new FakeNccl.World(), gpu);
    NcclCollectives c =
        NcclCollectives.join(nccl, line(gpu, false), Collectives.solo(), Fellowship.ALONE);
    nccl.error = "error 6, remote process exited";
    assertThatThrownBy(() -> c.allReduceSum(Tensor.zeros(3)))
        .isInstanceOf(LostPeerException.class)
        .hasMessageContaining("remote process exited");
    assertThat(nccl.record).endsWith("abort");
    assertThatThrownBy(() -> c.allReduceMax(Tensor.zeros(3))).isInstanceOf(LostPeerException.class);
    c.close();
    assertThat(nccl.record).as("an aborted communicator is gone").endsWith("abort");
  }

  @Test
  void workTogetherThatHasEndedElsewhereEndsTheWait() {
    FakeGpu gpu = new FakeGpu();
    FakeNccl nccl = new FakeNccl(new FakeNccl.World(), gpu);
    Fabric fabric = Fabric.local(1);
    NcclCollectives c = NcclCollectives.join(nccl, line(gpu, false), Collectives.solo(), fabric);
    LostPod.after(100, fabric);
    assertThatThrownBy(() -> c.broadcast(Tensor.zeros(2), 0))
        .isInstanceOf(LostPeerException.class)
        .hasMessage(LostPod.SILENT);
    assertThat(nccl.record).endsWith("abort");
  }

  @Test
  void aThreadThatIsStuckInsideOfNcclIsFreedWhenWorkTogetherEnds() {
    FakeGpu gpu = new FakeGpu();
    FakeNccl nccl = new FakeNccl(new FakeNccl.World(), gpu);
    Fabric fabric = Fabric.local(1);
    NcclCollectives c = NcclCollectives.join(nccl, line(gpu, true), Collectives.solo(), fabric);
    nccl.stuck = true;
    LostPod.after(100, fabric);
    long start = System.nanoTime();
    assertThatThrownBy(() -> c.allReduceSum(Tensor.zeros(2)))
        .isInstanceOf(LostPeerException.class)
        .hasMessage(LostPod.SILENT);
    assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(5));
    c.close();
    assertThat(nccl.record).as("aborted once, and never used again").containsOnlyOnce("abort");
    assertThat(nccl.record).endsWith("abort");
  }
}
