package dev.perigee.engine.cuda.nccl;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.FakeGpu;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.cuda.nccl.GpuGroups.Seat;
import dev.perigee.engine.cuda.nccl.GpuGroups.Way;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Ranks agree on how their tensors travel, and then they do. */
@Timeout(60)
final class GpuGroupsTest {
  private static final int NCCL = 22703;

  @Test
  void ranksWithAGpuEachAndTheSameNcclUseIt() {
    assertThat(GpuGroups.choose(List.of(new Seat(7, NCCL), new Seat(8, NCCL), new Seat(9, NCCL))))
        .isEqualTo(new Way.OverNccl(NCCL))
        .hasToString("over NCCL 2.27.3");
  }

  @Test
  void everythingElseTravelsThroughTheHostForAReasonThatIsSaid() {
    assertThat(GpuGroups.choose(List.of(new Seat(7, NCCL), new Seat(8, NCCL), new Seat(7, NCCL))))
        .hasToString(
            "through the host's memory, because ranks 0 and 2 share a GPU, which NCCL refuses");
    assertThat(GpuGroups.choose(List.of(new Seat(7, NCCL), new Seat(8, 0))))
        .hasToString(
            "through the host's memory, because rank 1 finds no libnccl.so.2; install NCCL beside"
                + " it, or name its folder in LD_LIBRARY_PATH");
    assertThat(GpuGroups.choose(List.of(new Seat(7, NCCL), new Seat(8, 22809))))
        .hasToString(
            "through the host's memory, because rank 0 has NCCL 22703 and rank 1 has 22809;"
                + " install the same everywhere");
    assertThat(GpuGroups.choose(List.of(new Seat(7, NCCL)))).isInstanceOf(Way.ThroughHost.class);
  }

  /** Sums of each group of a rank, on the device. */
  private static List<Float> sums(Fabric.Groups groups, CudaBackend backend, int rank) {
    return List.of(groups.expert(), groups.dense(), groups.replica(), groups.data()).stream()
        .map(
            group -> {
              Tensor x = backend.zeros(3);
              x.assign(Tensor.of(new float[] {1 << rank, 0, 1}, 3));
              if (group.size() > 1) {
                group.allReduceSum(x);
              }
              return x.onHost().floats()[0];
            })
        .toList();
  }

  /** The groups of a rank with a GPU to itself. */
  private static GpuGroups joined(
      FakeNccl nccl, FakeGpu gpu, CudaBackend backend, Fabric fabric, Mesh mesh, int rank) {
    return new GpuGroups(
        Optional.of(nccl),
        rank,
        () ->
            new GpuGroups.Opened(
                new NcclMember.Line(gpu, gpu, gpu, backend::zeros, FakeNccl.STREAM, () -> true),
                () -> nccl.record.add("line closed")),
        fabric.groups(mesh, rank),
        fabric);
  }

  @SuppressWarnings("try") // closing twice is allowed, and the first time is what is looked at
  @Test
  void eachGroupExchangesAmongItsOwnRanks() throws Exception {
    Mesh mesh = new Mesh(1, 4, 2, 4);
    FakeNccl.World world = new FakeNccl.World();
    Fabric fabric = Fabric.local(4);
    List<List<Float>> sums =
        fabric.run(
            rank -> {
              FakeGpu gpu = new FakeGpu();
              CudaBackend backend = gpu.backend(Precision.FP32, true);
              FakeNccl nccl = new FakeNccl(world, gpu);
              try (GpuGroups joined = joined(nccl, gpu, backend, fabric, mesh, rank)) {
                assertThat(joined.way()).isEqualTo(new Way.OverNccl(NCCL));
                for (Collectives c : List.of(joined.groups().expert(), joined.groups().dense())) {
                  assertThat(c).isInstanceOf(NcclCollectives.class);
                  assertThat(c.buffer(5).isOnHost()).isFalse();
                }
                assertThat(joined.groups().pipeline())
                    .as("one stage has nobody to send to")
                    .isNotInstanceOf(NcclPipeline.class);
                List<Float> got = sums(joined.groups(), backend, rank);
                joined.close();
                assertThat(nccl.record)
                    .as("the communicator goes before its stream, three times")
                    .endsWith(
                        "destroy",
                        "line closed",
                        "destroy",
                        "line closed",
                        "destroy",
                        "line closed");
                return got;
              }
            });
    assertThat(sums)
        .containsExactly(
            List.of(3f, 15f, 5f, 15f),
            List.of(3f, 15f, 10f, 15f),
            List.of(12f, 15f, 5f, 15f),
            List.of(12f, 15f, 10f, 15f));
  }

  @Test
  void stagesSendThroughNccl() throws Exception {
    Mesh mesh = new Mesh(2, 1, 1, 2);
    FakeNccl.World world = new FakeNccl.World();
    Fabric fabric = Fabric.local(2);
    fabric.run(
        rank -> {
          FakeGpu gpu = new FakeGpu();
          CudaBackend backend = gpu.backend(Precision.FP32, true);
          FakeNccl nccl = new FakeNccl(world, gpu);
          GpuGroups joined = joined(nccl, gpu, backend, fabric, mesh, rank);
          Tensor x = backend.zeros(4);
          x.assign(Tensor.of(new float[] {rank, 2, 3, 4}, 4));
          Collectives pipeline = joined.groups().pipeline();
          pipeline.send(1 - rank, 0, x);
          pipeline.receive(1 - rank, 0, x);
          assertThat(x.onHost().floats()).containsExactly(1 - rank, 2, 3, 4);
          pipeline.barrier();
          assertThat(nccl.record).contains("SEND 4 FLOAT32 1", "RECEIVE 4 FLOAT32 0");
          joined.close();
          assertThat(nccl.record)
              .as("both communicators go before their streams")
              .endsWith("destroy", "destroy", "line closed", "line closed");
          return null;
        });
  }
}
