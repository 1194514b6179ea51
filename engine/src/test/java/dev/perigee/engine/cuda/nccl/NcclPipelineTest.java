package dev.perigee.engine.cuda.nccl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.FakeGpu;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.cuda.nccl.NcclPipeline.Direction;
import dev.perigee.engine.cuda.nccl.NcclPipeline.Letter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.tensor.Tensor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a stage sends to another through a fake of NCCL arrives, in whatever order it is wanted. */
@Timeout(60)
final class NcclPipelineTest {
  /** One stage. */
  private static final class Stage implements AutoCloseable {
    final FakeGpu gpu = new FakeGpu();
    final CudaBackend backend = gpu.backend(Precision.BF16, true);
    final AtomicBoolean idle = new AtomicBoolean(true);
    final FakeNccl nccl;
    final Fabric fabric;
    final Collectives beneath;
    final NcclPipeline pipeline;

    Stage(FakeNccl.World world, Fabric fabric, int rank) {
      this.fabric = fabric;
      nccl = new FakeNccl(world, gpu);
      beneath = fabric.collectives(rank, IntStream.range(0, fabric.world()).boxed().toList());
      pipeline =
          NcclPipeline.join(
              nccl,
              () -> new NcclMember.Line(gpu, gpu, gpu, backend::zeros, FakeNccl.STREAM, idle::get),
              beneath,
              fabric);
      nccl.record.clear(); // what was sent to connect
    }

    /** A tensor on the device. */
    Tensor there(float first, int count) {
      Tensor x = backend.zeros(count);
      x.assign(numbers(first, count));
      return x;
    }

    float[] received(int from, int stream, int count) {
      Tensor x = backend.zeros(count);
      pipeline.receive(from, stream, x);
      return x.onHost().floats();
    }

    @Override
    public void close() {
      pipeline.close();
    }
  }

  private static Tensor numbers(float first, int count) {
    Tensor x = Tensor.zeros(count);
    for (int i = 0; i < count; i++) {
      x.floats()[i] = first + i;
    }
    return x;
  }

  /** What a stage does. */
  @FunctionalInterface
  private interface Part {
    void run(Stage self, int rank) throws Exception;
  }

  /** Every stage does its part once all have joined. */
  private static void joined(int count, Part part) throws Exception {
    FakeNccl.World world = new FakeNccl.World();
    Fabric fabric = Fabric.local(count);
    fabric.run(
        rank -> {
          try (Stage self = new Stage(world, fabric, rank)) {
            self.beneath.barrier();
            part.run(self, rank);
          }
          return null;
        });
  }

  /** The same, and leaves when all have done it. */
  private static void stages(int count, Part part) throws Exception {
    joined(
        count,
        (self, rank) -> {
          part.run(self, rank);
          self.beneath.barrier();
        });
  }

  @Test
  void receivesComeInAnotherOrderThanSends() throws Exception {
    stages(
        2,
        (self, rank) -> {
          if (rank == 0) {
            self.pipeline.send(1, 4, self.there(10, 5));
            self.pipeline.send(1, 6, self.there(20, 700));
            self.pipeline.send(1, 4, self.there(30, 5));
            self.pipeline.send(1, 9, self.there(40, 1));
          } else {
            assertThat(self.received(0, 9, 1)).isEqualTo(numbers(40, 1).floats());
            assertThat(self.received(0, 4, 5)).isEqualTo(numbers(10, 5).floats());
            assertThat(self.received(0, 6, 700)).isEqualTo(numbers(20, 700).floats());
            assertThat(self.received(0, 4, 5)).isEqualTo(numbers(30, 5).floats());
            assertThat(self.nccl.record)
                .containsExactly(
                    "RECEIVE 5 FLOAT32 0",
                    "RECEIVE 700 FLOAT32 0",
                    "RECEIVE 5 FLOAT32 0",
                    "RECEIVE 1 FLOAT32 0");
          }
        });
  }

  @Test
  void nobodyWaitsToSendAndWhatWasSentMayBeChangedAtOnce() throws Exception {
    int messages = 40;
    stages(
        2,
        (self, rank) -> {
          int other = 1 - rank;
          Tensor x = self.backend.zeros(64);
          for (int i = 0; i < messages; i++) {
            x.assign(numbers(1000 * rank + i, 64));
            self.pipeline.send(other, 2, x);
          }
          x.assign(numbers(-1, 64));
          self.beneath.barrier(); // both have sent everything, and nobody has received anything
          for (int i = 0; i < messages; i++) {
            assertThat(self.received(other, 2, 64))
                .isEqualTo(numbers(1000 * other + i, 64).floats());
          }
        });
  }

  @Test
  void ncclIsNotAskedBeforeTheReceiverIsThere() throws Exception {
    stages(
        2,
        (self, rank) -> {
          if (rank == 0) {
            self.pipeline.send(1, 0, self.there(1, 3));
            Thread.sleep(100);
            assertThat(self.nccl.record).isEmpty();
          }
          self.beneath.barrier();
          if (rank == 1) {
            assertThat(self.received(0, 0, 3)).containsExactly(1, 2, 3);
          }
        });
  }

  @Test
  void nothingIsAllocatedOnceEverySizeWasThere() throws Exception {
    stages(
        2,
        (self, rank) -> {
          Tensor x = self.there(5, 900);
          long after = 0;
          for (int i = 0; i < 20; i++) {
            if (rank == 0) {
              self.pipeline.send(1, i, x);
              self.pipeline.receive(1, i, x);
            } else {
              self.pipeline.receive(0, i, x);
              self.pipeline.send(0, i, x);
            }
            // What has been sent is the courier's for a moment longer.
            after = i == 4 ? self.gpu.allocated() : after;
          }
          assertThat(x.onHost().floats()).isEqualTo(numbers(5, 900).floats());
          assertThat(self.gpu.allocated()).isLessThanOrEqualTo(after + 4096);
        });
  }

  @Test
  void whatIsStillCopiedIsNotReceivedInto() throws Exception {
    stages(
        2,
        (self, rank) -> {
          if (rank == 0) {
            self.pipeline.send(1, 0, self.there(1, 64));
            self.pipeline.send(1, 0, self.there(2, 64));
          } else {
            self.gpu.copying = true; // the copies into tensors are never done
            Tensor x = self.backend.zeros(64);
            Tensor y = self.backend.zeros(64);
            self.pipeline.receive(0, 0, x);
            long before = self.gpu.allocated();
            self.pipeline.receive(0, 0, y);
            assertThat(self.gpu.allocated() - before).as("another room").isEqualTo(256);
            assertThat(x.onHost().floats()).isEqualTo(numbers(1, 64).floats());
            assertThat(y.onHost().floats()).isEqualTo(numbers(2, 64).floats());
          }
        });
  }

  @Test
  void roundedNumbersTravelAsTheyAreAndTypesMayDiffer() throws Exception {
    stages(
        2,
        (self, rank) -> {
          Tensor rounded = self.backend.activations(8);
          if (rank == 0) {
            rounded.assign(numbers(3, 8));
            self.pipeline.send(1, 0, rounded);
            self.pipeline.send(1, 0, rounded);
            self.pipeline.send(1, 0, rounded);
            self.pipeline.send(1, 0, self.there(3, 8));
          } else {
            self.pipeline.receive(0, 0, rounded);
            assertThat(rounded.onHost().floats()).isEqualTo(numbers(3, 8).floats());
            Tensor host = Tensor.zeros(8);
            self.pipeline.receive(0, 0, host);
            assertThat(host.floats()).isEqualTo(numbers(3, 8).floats());
            self.gpu.launches.clear();
            self.received(0, 0, 8);
            self.pipeline.receive(0, 0, rounded);
            assertThat(self.gpu.launches)
                .extracting(l -> l.kernel())
                .containsExactly("vector_from_bf16", "vector_to_bf16");
            assertThat(self.nccl.record)
                .containsExactly(
                    "RECEIVE 8 BF16 0",
                    "RECEIVE 8 BF16 0",
                    "RECEIVE 8 BF16 0",
                    "RECEIVE 8 FLOAT32 0");
          }
        });
  }

  @Test
  void tensorsOnTheHostAndEmptyOnesArriveInTheirOrder() throws Exception {
    stages(
        2,
        (self, rank) -> {
          if (rank == 0) {
            self.pipeline.send(1, 0, numbers(1, 6));
            self.pipeline.send(1, 0, self.there(2, 6).slice(1, 4));
            self.pipeline.send(1, 0, numbers(3, 6).slice(2, 3));
            self.pipeline.send(1, 0, Tensor.zeros(0));
          } else {
            assertThat(self.received(0, 0, 6)).isEqualTo(numbers(1, 6).floats());
            Tensor host = Tensor.zeros(6);
            self.pipeline.receive(0, 0, host.slice(2, 4));
            assertThat(host.floats()).containsExactly(0, 0, 3, 4, 5, 6);
            self.pipeline.receive(0, 0, host.slice(0, 3));
            assertThat(host.floats()).containsExactly(5, 6, 7, 4, 5, 6);
            self.pipeline.receive(0, 0, Tensor.zeros(0));
          }
        });
  }

  @Test
  void anotherSizeThanWasSentIsRefused() throws Exception {
    stages(
        2,
        (self, rank) -> {
          if (rank == 0) {
            self.pipeline.send(1, 3, self.there(1, 6));
          } else {
            assertThatThrownBy(() -> self.received(0, 3, 5))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("stage 0 sends 6 numbers on stream 3 where 5 were expected");
          }
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3, 4, 5})
  void everyStageReachesEveryOther(int count) throws Exception {
    stages(
        count,
        (self, rank) -> {
          for (int to = 0; to < count; to++) {
            if (to != rank) {
              self.pipeline.send(to, 1, self.there(100 * rank + to, 9));
            }
          }
          for (int from = 0; from < count; from++) {
            if (from != rank) {
              assertThat(self.received(from, 1, 9))
                  .isEqualTo(numbers(100 * from + rank, 9).floats());
            }
          }
          double[] sum = {1};
          self.pipeline.allReduceSum(sum);
          assertThat(sum).containsExactly(count);
        });
  }

  @Test
  void neighboursAndTheEndsHaveADirectionEach() {
    assertThat(NcclPipeline.directions(2))
        .containsExactly(new Direction(0, 1), new Direction(1, 0));
    assertThat(NcclPipeline.directions(4))
        .containsExactly(
            new Direction(0, 1),
            new Direction(1, 0),
            new Direction(2, 3),
            new Direction(3, 2),
            new Direction(1, 2),
            new Direction(2, 1),
            new Direction(3, 0),
            new Direction(0, 3));
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, (1 << 24) + 1, Integer.MAX_VALUE})
  void countsOfAnySizeAreToldExactly(int count) throws Exception {
    Fabric fabric = Fabric.local(2);
    Letter sent = new Letter(NcclPipeline.ANSWERS - 1, count, Nccl.Type.BF16);
    fabric.run(
        rank -> {
          Collectives c = fabric.collectives(rank, List.of(0, 1));
          if (rank == 0) {
            sent.send(c, 1);
          } else {
            assertThat(Letter.receive(c, 0)).isEqualTo(sent);
          }
          return null;
        });
  }

  /** How both stages end when something happens to the sender in the middle of a message. */
  private static List<Throwable> ends(Part atSender, Part atReceiver) throws Exception {
    FakeNccl.World world = new FakeNccl.World();
    Fabric fabric = Fabric.local(2);
    List<Throwable> ends = new ArrayList<>(List.of(new Error(), new Error()));
    CountDownLatch joined = new CountDownLatch(2);
    long[] start = new long[1];
    fabric.run(
        rank -> {
          try (Stage self = new Stage(world, fabric, rank)) {
            joined.countDown();
            joined.await();
            start[0] = System.nanoTime();
            (rank == 0 ? atSender : atReceiver).run(self, rank);
          } catch (RuntimeException e) {
            ends.set(rank, e);
          }
          return null;
        });
    assertThat(Duration.ofNanos(System.nanoTime() - start[0])).isLessThan(Duration.ofSeconds(8));
    return ends;
  }

  @Test
  void aPeerThatIsLostInTheMiddleOfAMessageEndsTheWaitOfBothSides() throws Exception {
    joined(
        2,
        (self, rank) -> {
          self.idle.set(false); // NCCL's work is never done
          if (rank == 0) {
            self.pipeline.send(1, 0, self.there(1, 5));
            LostPod.after(200, self.fabric);
            assertThatThrownBy(() -> self.received(1, 0, 5))
                .isInstanceOf(LostPeerException.class)
                .hasMessage(LostPod.SILENT);
            assertThatThrownBy(
                    () -> {
                      while (true) { // until the direction's thread has seen it
                        self.pipeline.send(1, 0, numbers(1, 5));
                      }
                    })
                .isInstanceOf(LostPeerException.class);
          } else {
            assertThatThrownBy(() -> self.received(0, 0, 5))
                .isInstanceOf(LostPeerException.class)
                .hasMessage(LostPod.SILENT);
          }
          awaitRecord(self.nccl, "abort");
        });
  }

  @Test
  void whatNcclFindsOutAboutAPeerEndsWorkTogether() throws Exception {
    List<Throwable> ends =
        ends(
            (self, rank) -> {
              self.nccl.error = "error 6, remote process exited";
              self.idle.set(false);
              self.pipeline.send(1, 0, self.there(1, 5));
              self.received(1, 0, 5);
            },
            (self, rank) -> {
              self.nccl.error = "error 6, remote process exited";
              self.idle.set(false);
              self.received(0, 0, 5);
            });
    assertThat(ends)
        .allSatisfy(
            e ->
                assertThat(e)
                    .isInstanceOf(LostPeerException.class)
                    .hasMessageContaining("remote process exited"));
  }

  @Test
  void aReceiverThatStaysInsideOfNcclIsFreed() throws Exception {
    joined(
        2,
        (self, rank) -> {
          if (rank == 0) {
            self.nccl.stuck = true;
            self.pipeline.send(1, 0, self.there(1, 5));
            while (self.fabric.failure().isEmpty()) {
              Thread.sleep(1);
            }
          } else {
            LostPod.after(200, self.fabric);
            assertThatThrownBy(() -> self.received(0, 0, 5))
                .isInstanceOf(LostPeerException.class)
                .hasMessage(LostPod.SILENT);
          }
        });
  }

  @Test
  void aThreadThatFailsEndsWorkTogetherAndSaysWhy() throws Exception {
    List<Throwable> ends =
        ends(
            (self, rank) -> {
              self.gpu.failing = "cuEventQuery: CUDA_ERROR_ILLEGAL_ADDRESS";
              self.pipeline.send(1, 0, self.there(1, 5));
              while (self.fabric.failure().isEmpty()) {
                Thread.sleep(1);
              }
              self.pipeline.send(1, 0, numbers(1, 5));
            },
            (self, rank) -> self.received(0, 0, 5));
    assertThat(ends.get(0))
        .hasMessageContaining("cannot send to stage 1")
        .hasMessageContaining("ILLEGAL_ADDRESS");
    assertThat(ends.get(1))
        .isInstanceOf(LostPeerException.class)
        .hasMessageContaining("rank 0 sends to stage 1 failed")
        .hasMessageContaining("ILLEGAL_ADDRESS");
  }

  @Test
  void whatNobodyReceivesDoesNotKeepAStageFromLeaving() throws Exception {
    long start = System.nanoTime();
    stages(2, (self, rank) -> self.pipeline.send(1 - rank, 0, self.there(1, 5)));
    assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(20));
  }

  private static void awaitRecord(FakeNccl nccl, String what) throws InterruptedException {
    while (!nccl.record.contains(what)) {
      Thread.sleep(5);
    }
  }
}
