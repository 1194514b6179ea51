package dev.perigee.engine.bench;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.cuda.nccl.GpuGroups;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.run.Mesh;

/**
 * One rank of a benchmark's gang: what it computes with, and its groups as they serve that.
 *
 * @param way that tensors travel between ranks, for people
 * @param leave leaves the groups and frees the GPU
 */
record GangRank(int rank, Backend backend, Fabric.Groups groups, String way, Runnable leave)
    implements AutoCloseable {
  /** Opens a rank; all ranks of the mesh do so together. */
  static GangRank open(GangShape shape, Fabric fabric, Mesh mesh, int rank) {
    Fabric.Groups groups = fabric.groups(mesh, rank);
    if (shape.gpus() == 0) {
      return new GangRank(rank, new CpuBackend(), groups, "between threads and over TCP", () -> {});
    }
    Precision precision =
        switch (shape.precision()) {
          case fp32 -> Precision.FP32;
          case bf16 -> Precision.BF16;
        };
    CudaBackend backend = CudaBackend.open(rank % shape.gpus(), precision);
    GpuGroups joined = GpuGroups.join(backend, groups, fabric);
    return new GangRank(
        rank,
        backend,
        joined.groups(),
        joined.way().toString(),
        () -> {
          joined.close();
          backend.close();
        });
  }

  @Override
  public void close() {
    leave.run();
  }
}
