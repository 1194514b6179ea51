package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.driver.Device;
import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.Stream;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.Fellowship;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * The groups of a rank whose tensors are on a GPU. Rows of experts, gradients, weights and what a
 * stage sends to its neighbours go through NCCL where every rank of the job has a GPU to itself;
 * where ranks share one, which NCCL refuses, or where it is missing, they go by way of the host.
 * Everything else, which is small or seldom, always goes by way of the host.
 */
public final class GpuGroups implements AutoCloseable {
  /** How tensors travel between ranks. */
  public sealed interface Way {
    /**
     * From GPU to GPU.
     *
     * @param version of NCCL, for example 22703
     */
    record OverNccl(int version) implements Way {
      @Override
      public String toString() {
        return "over NCCL %d.%d.%d".formatted(version / 10_000, version / 100 % 100, version % 100);
      }
    }

    /**
     * By way of the host's memory.
     *
     * @param why NCCL is not used
     */
    record ThroughHost(String why) implements Way {
      @Override
      public String toString() {
        return "through the host's memory, because " + why;
      }
    }
  }

  /**
   * What a rank has.
   *
   * @param gpu a number that tells GPUs of all machines apart, below 2⁵³
   * @param nccl version of NCCL on its machine, 0 for none
   */
  record Seat(long gpu, int nccl) {}

  private final Way way;
  private final Fabric.Groups groups;
  private final Deque<Runnable> opened = new ArrayDeque<>();

  /**
   * Agrees with all other ranks on a way, and joins the groups in it. Every rank calls this.
   *
   * @param backend of this rank
   * @param groups of this rank, as they serve tensors on the host
   * @param fellowship says when work together has ended: the fabric of {@code groups}
   */
  public static GpuGroups join(CudaBackend backend, Fabric.Groups groups, Fellowship fellowship) {
    Device device = backend.device();
    Optional<NcclLibrary> nccl = NcclLibrary.load();
    return new GpuGroups(
        nccl.map(n -> n),
        device.number(),
        () -> {
          Stream stream = device.stream();
          DeviceArena memory = device.arena();
          return new Opened(
              new NcclMember.Line(
                  stream,
                  device.compute(),
                  memory,
                  backend::zeros,
                  stream.handle(),
                  stream::isIdle),
              () -> {
                memory.close();
                stream.close();
              });
        },
        groups,
        fellowship);
  }

  /** A line, and what ends it. */
  record Opened(NcclMember.Line line, Runnable close) {}

  GpuGroups(
      Optional<Nccl> nccl,
      long gpu,
      Supplier<Opened> lines,
      Fabric.Groups groups,
      Fellowship fellowship) {
    Collectives world = groups.world();
    double[] seats = new double[2 * world.size()];
    seats[2 * world.index()] = gpu;
    seats[2 * world.index() + 1] = nccl.map(Nccl::version).orElse(0);
    world.allReduceSum(seats); // the others have said zero
    List<Seat> all = new ArrayList<>();
    for (int rank = 0; rank < world.size(); rank++) {
      all.add(new Seat((long) seats[2 * rank], (int) seats[2 * rank + 1]));
    }
    way = choose(all);
    Fabric.Groups staged = groups.staged();
    this.groups =
        switch (way) {
          case Way.ThroughHost _ -> staged;
          case Way.OverNccl _ ->
              new Fabric.Groups(
                  staged.data(),
                  joined(nccl.orElseThrow(), lines, groups.expert(), staged.expert(), fellowship),
                  joined(nccl.orElseThrow(), lines, groups.dense(), staged.dense(), fellowship),
                  joined(nccl.orElseThrow(), lines, groups.replica(), staged.replica(), fellowship),
                  pipeline(nccl.orElseThrow(), lines, groups, staged, fellowship),
                  staged.world());
        };
  }

  /** How tensors travel between ranks that have these seats, in the order of the ranks. */
  static Way choose(List<Seat> seats) {
    if (seats.size() == 1) {
      return new Way.ThroughHost("one rank has nobody to exchange with");
    }
    Map<Long, Integer> rankOf = new HashMap<>();
    for (int rank = 0; rank < seats.size(); rank++) {
      Integer other = rankOf.putIfAbsent(seats.get(rank).gpu, rank);
      if (other != null) {
        return new Way.ThroughHost(
            "ranks %d and %d share a GPU, which NCCL refuses".formatted(other, rank));
      }
    }
    int version = seats.getFirst().nccl;
    for (int rank = 0; rank < seats.size(); rank++) {
      int theirs = seats.get(rank).nccl;
      if (theirs == 0) {
        return new Way.ThroughHost(
            "rank %d finds no %s; install NCCL beside it, or name its folder in LD_LIBRARY_PATH"
                .formatted(rank, NcclLibrary.NAME));
      }
      if (theirs != version) {
        return new Way.ThroughHost(
            "rank 0 has NCCL %d and rank %d has %d; install the same everywhere"
                .formatted(version, rank, theirs));
      }
    }
    return new Way.OverNccl(version);
  }

  private Collectives joined(
      Nccl nccl,
      Supplier<Opened> lines,
      Collectives group,
      Collectives staged,
      Fellowship fellowship) {
    if (group.size() == 1) {
      return staged;
    }
    NcclCollectives joined = NcclCollectives.join(nccl, open(lines), group, fellowship);
    opened.push(joined::close);
    return joined;
  }

  private Collectives pipeline(
      Nccl nccl,
      Supplier<Opened> lines,
      Fabric.Groups groups,
      Fabric.Groups staged,
      Fellowship fellowship) {
    if (groups.pipeline().size() == 1) {
      return staged.pipeline();
    }
    NcclPipeline joined = NcclPipeline.join(nccl, () -> open(lines), groups.pipeline(), fellowship);
    opened.push(joined::close);
    return joined;
  }

  private NcclMember.Line open(Supplier<Opened> lines) {
    Opened line = lines.get();
    opened.push(line.close);
    return line.line;
  }

  /** How tensors travel. */
  public Way way() {
    return way;
  }

  /** The groups, for tensors on the GPU and on the host. */
  public Fabric.Groups groups() {
    return groups;
  }

  /** Leaves the groups, before the backend is closed. */
  @Override
  public void close() {
    while (!opened.isEmpty()) {
      opened.pop().run();
    }
  }
}
