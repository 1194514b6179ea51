package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.DeviceTensors;
import dev.perigee.engine.cuda.driver.CudaException;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.cuda.nccl.NcclMember.Line;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fellowship;
import dev.perigee.engine.parallel.StagedCollectives;
import dev.perigee.engine.tensor.Tensor;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.IntStream;

/**
 * The operations of a group of GPUs through {@link Nccl}, straight between the tensors on them.
 * Tensors on the host go by way of the device. One instance belongs to one thread at a time.
 *
 * <p>An operation is queued in a stream of its own behind the work that made its tensors, and the
 * calling thread waits for its end; the rank's other threads go on computing meanwhile. What comes
 * to the host is copied in the same stream, so that even an exchange of counts waits only once. An
 * exchange of rows that {@link CudaBackend#fromHere} gave to another thread does not wait for what
 * was queued later.
 *
 * <p>Figures, barriers and what one rank sends to one other go through the connections beneath:
 * NCCL's send waits until its receiver comes, and a schedule's must not. {@link NcclPipeline} is
 * for groups that send much.
 *
 * <p>Sums are the same on every rank and in every run with the same ranks on the same machines, but
 * their order is NCCL's and not that of ranks in other groups; {@link #reduceScatterSum} and {@link
 * #allReduceSum(Tensor)} may differ in the last bit.
 *
 * <p>A lost peer ends every operation, as {@link NcclMember} says.
 */
public final class NcclCollectives implements Collectives, AutoCloseable {
  private static final Nccl.Type INTS = Nccl.Type.INT32;
  private static final Nccl.Type FLOATS = Nccl.Type.FLOAT32;

  private final Nccl nccl;
  private final Line line;
  private final Collectives staged; // what does not go through NCCL
  private final int size;
  private final int index;
  private final NcclMember member;
  private final long communicator;
  private final Staged first = new Staged();
  private final Staged second = new Staged();
  private final Rooms rooms;

  private NcclCollectives(Nccl nccl, Line line, Collectives beneath, NcclMember member) {
    this.nccl = nccl;
    this.line = line;
    this.staged = new StagedCollectives(beneath);
    this.size = beneath.size();
    this.index = beneath.index();
    this.member = member;
    this.communicator = member.communicator();
    this.rooms = new Rooms(line.memory());
  }

  /** Why NCCL cannot be used on this machine, in one line; empty when it can. */
  public static Optional<String> whyAbsent() {
    return NcclLibrary.load().isPresent() ? Optional.empty() : Optional.of(NcclLibrary.ABSENT);
  }

  /**
   * Joins a group; every rank of it calls this.
   *
   * @param beneath the same group by other means, over which NCCL's own name for it is told
   * @param fellowship says when work together has ended: the fabric of {@code beneath}
   * @throws CudaException when NCCL refuses
   */
  static NcclCollectives join(Nccl nccl, Line line, Collectives beneath, Fellowship fellowship) {
    double[] told = new double[Nccl.ID_BYTES];
    if (beneath.index() == 0) {
      byte[] id = nccl.uniqueId();
      Arrays.setAll(told, i -> id[i]);
    }
    beneath.allReduceSum(told); // the others have said zero
    byte[] id = new byte[Nccl.ID_BYTES];
    for (int i = 0; i < id.length; i++) {
      id[i] = (byte) told[i];
    }
    NcclMember member =
        NcclMember.join(nccl, line, beneath.size(), id, beneath.index(), fellowship);
    return new NcclCollectives(nccl, line, beneath, member);
  }

  @Override
  public int size() {
    return size;
  }

  @Override
  public int index() {
    return index;
  }

  @Override
  public Tensor buffer(int count) {
    return line.zeros().apply(count);
  }

  /** Memory of the device through which numbers of the host go, kept for the next ones. */
  private final class Staged {
    private ByteBuffer host = ByteBuffer.allocate(0);
    private DeviceBuffer device;

    /** At least so many bytes; the host's view is exactly that long. */
    ByteBuffer of(long bytes) {
      if (device == null || device.bytes() < bytes) {
        if (device != null) {
          line.memory().free(device);
        }
        device = line.memory().allocate(bytes);
        host = line.memory().pinned(bytes);
      }
      return host.slice(0, Math.toIntExact(bytes)).order(host.order());
    }

    DeviceBuffer upload(Tensor x) {
      long bytes = (long) Float.BYTES * x.size();
      ByteBuffer copy = of(bytes);
      copy.asFloatBuffer().put(x.floats(), x.offset(), x.size());
      line.queue().upload(copy, device.slice(0, bytes));
      return device.slice(0, bytes);
    }

    /** What is on the device will be in the host's view once the stream is idle. */
    ByteBuffer download(long bytes) {
      ByteBuffer copy = of(bytes);
      line.queue().download(device.slice(0, bytes), copy);
      return copy;
    }
  }

  /** What its numbers are on the device. */
  static Nccl.Type type(Tensor x) {
    return x.storage().width() == Nccl.Type.BF16.bytes ? Nccl.Type.BF16 : FLOATS;
  }

  /** Where a tensor's numbers are on the device, brought there if need be. */
  private DeviceBuffer there(Staged by, Tensor x) {
    return x.isOnHost() ? by.upload(x) : DeviceTensors.read(x);
  }

  /** Queues the way of what was changed there to where the tensor is. */
  private void back(Staged by, Tensor x) {
    if (x.isOnHost()) {
      by.download((long) Float.BYTES * x.size());
    }
  }

  /** The last of that way, once it is done. */
  private void take(Staged by, Tensor x) {
    if (x.isOnHost()) {
      by.of((long) Float.BYTES * x.size()).asFloatBuffer().get(x.floats(), x.offset(), x.size());
    }
  }

  private void together(Runnable calls) {
    member.together(calls);
  }

  /** Queues an operation behind the work on its tensors, and waits until it is done. */
  private void operate(Runnable queued) {
    member.operate(
        () -> {
          line.queue().after(line.tensors());
          queued.run();
        });
  }

  @Override
  public void allReduceSum(Tensor x) {
    allReduce(x, Nccl.Op.SUM);
  }

  @Override
  public void allReduceMax(Tensor x) {
    allReduce(x, Nccl.Op.MAX);
  }

  private void allReduce(Tensor x, Nccl.Op op) {
    operate(
        () -> {
          long at = there(first, x).address();
          together(
              () -> nccl.allReduce(at, at, x.size(), type(x), op, communicator, line.stream()));
          back(first, x);
        });
    take(first, x);
  }

  @Override
  public void allReduceSum(double[] x) {
    staged.allReduceSum(x);
  }

  @Override
  public void reduceScatterSum(Tensor x, int[] counts) {
    long[] starts = starts(x, counts);
    operate(
        () -> {
          DeviceBuffer there = there(first, x);
          together(() -> reduceShares(there.address(), type(x), counts, starts));
          back(first, x);
        });
    take(first, x);
  }

  /** NCCL's own reduce-scatter wants equal shares; of others each has a reduce of its own. */
  private void reduceShares(long from, Nccl.Type type, int[] counts, long[] starts) {
    if (areEqual(counts)) {
      long mine = from + type.bytes * starts[index];
      nccl.reduceScatter(from, mine, counts[index], type, Nccl.Op.SUM, communicator, line.stream());
      return;
    }
    for (int i = 0; i < size; i++) {
      if (counts[i] > 0) {
        long at = from + type.bytes * starts[i];
        nccl.reduce(at, at, counts[i], type, Nccl.Op.SUM, i, communicator, line.stream());
      }
    }
  }

  /** Likewise with its all-gather, and broadcasts. */
  private void gatherShares(long to, Nccl.Type type, int[] counts, long[] starts) {
    if (areEqual(counts)) {
      long mine = to + type.bytes * starts[index];
      nccl.allGather(mine, to, counts[index], type, communicator, line.stream());
      return;
    }
    for (int i = 0; i < size; i++) {
      if (counts[i] > 0) {
        broadcast(to + type.bytes * starts[i], counts[i], type, i);
      }
    }
  }

  private static boolean areEqual(int[] counts) {
    return Arrays.stream(counts).allMatch(c -> c == counts[0]);
  }

  @Override
  public void allGather(Tensor x, int[] counts) {
    long[] starts = starts(x, counts);
    operate(
        () -> {
          DeviceBuffer there = there(first, x);
          together(() -> gatherShares(there.address(), type(x), counts, starts));
          back(first, x);
        });
    take(first, x);
  }

  @Override
  public void allGather(Tensor part, Tensor whole) {
    if (whole.size() != Math.multiplyExact(part.size(), size)) {
      throw new IllegalArgumentException(
          "all-gather of " + size + " times " + part + " into " + whole);
    }
    Nccl.Type type = same(part, whole);
    operate(
        () -> {
          DeviceBuffer to = there(first, whole);
          long from = there(second, part).address();
          together(
              () ->
                  nccl.allGather(
                      from, to.address(), part.size(), type, communicator, line.stream()));
          back(first, whole);
        });
    take(first, whole);
  }

  private static Nccl.Type same(Tensor x, Tensor y) {
    if (type(x) != type(y)) {
      throw new IllegalArgumentException(x + " and " + y + " are numbers of two types");
    }
    return type(x);
  }

  private void broadcast(long at, int count, Nccl.Type type, int root) {
    nccl.broadcast(at, at, count, type, root, communicator, line.stream());
  }

  @Override
  public void broadcast(Tensor x, int root) {
    operate(
        () -> {
          long at = there(first, x).address();
          together(() -> broadcast(at, x.size(), type(x), root));
          back(first, x);
        });
    take(first, x);
  }

  @Override
  public int[] allToAllCounts(int[] values) {
    if (values.length != size) {
      throw new IllegalArgumentException(values.length + " counts for a group of " + size);
    }
    long bytes = (long) Integer.BYTES * size;
    operate(
        () -> {
          ByteBuffer copy = first.of(bytes);
          copy.asIntBuffer().put(values);
          line.queue().upload(copy, first.device.slice(0, bytes));
          second.of(bytes);
          together(
              () -> {
                for (int i = 0; i < size; i++) {
                  exchange(first.device.address(), i, 1, second.device.address(), i, 1, i, INTS);
                }
              });
          second.download(bytes);
        });
    int[] got = new int[size];
    second.of(bytes).asIntBuffer().get(got);
    return got;
  }

  /** Sends to a rank and receives from it; starts and counts are elements. */
  private void exchange(
      long from,
      long sendStart,
      long sent,
      long to,
      long start,
      long count,
      int peer,
      Nccl.Type type) {
    if (sent > 0) {
      nccl.send(from + type.bytes * sendStart, sent, type, peer, communicator, line.stream());
    }
    if (count > 0) {
      nccl.receive(to + type.bytes * start, count, type, peer, communicator, line.stream());
    }
  }

  @Override
  public void allToAll(Tensor send, int[] sendRows, Tensor receive, int[] receiveRows) {
    int width = send.dim(-1);
    if (receive.dim(-1) != width) {
      throw new IllegalArgumentException("all-to-all of " + send + " into " + receive);
    }
    int[] sendCounts = Arrays.stream(sendRows).map(r -> Math.multiplyExact(r, width)).toArray();
    int[] counts = Arrays.stream(receiveRows).map(r -> Math.multiplyExact(r, width)).toArray();
    long[] sendStarts = starts(send, sendCounts);
    long[] starts = starts(receive, counts);
    Nccl.Type type = same(send, receive);
    boolean apart = CudaBackend.HERE.isBound() && !receive.isOnHost();
    DeviceBuffer room = apart ? room(receive) : null;
    member.operate(
        () -> {
          afterWhatMakes(send, receive);
          long from = there(first, send).address();
          long to = apart ? room.address() : there(second, receive).address();
          together(
              () -> {
                for (int i = 0; i < size; i++) {
                  exchange(from, sendStarts[i], sendCounts[i], to, starts[i], counts[i], i, type);
                }
              });
          back(second, receive);
        });
    take(second, receive);
    if (apart) {
      fromRoom(room, receive);
    }
  }

  /**
   * Queues what follows behind the work on its tensors, as far as it matters: numbers on the host
   * wait for none, and an exchange beside the rank's own thread only for what made its rows.
   */
  private void afterWhatMakes(Tensor send, Tensor receive) {
    if (send.isOnHost() && receive.isOnHost()) {
      return;
    }
    if (CudaBackend.HERE.isBound()) {
      line.queue().after(CudaBackend.HERE.get());
    } else {
      line.queue().after(line.tensors());
    }
  }

  /**
   * Where rows arrive that do not wait for all work so far: the tensor's memory may have been that
   * of another before, which queued work still uses.
   */
  private DeviceBuffer room(Tensor x) {
    line.queue().bind();
    return rooms.take((long) type(x).bytes * x.size());
  }

  /** Queues the way from there into the tensor behind that work. */
  private void fromRoom(DeviceBuffer room, Tensor x) {
    Queue tensors = line.tensors();
    DeviceBuffer to = DeviceTensors.read(x);
    if (to.bytes() > 0) {
      tensors.copy(room.slice(0, to.bytes()), to);
    }
    rooms.giveBack(room, tensors.mark());
  }

  @Override
  public void send(int to, int stream, Tensor x) {
    staged.send(to, stream, x);
  }

  @Override
  public void receive(int from, int stream, Tensor x) {
    staged.receive(from, stream, x);
  }

  @Override
  public void barrier() {
    staged.barrier();
  }

  private long[] starts(Tensor x, int[] counts) {
    long[] starts = new long[size + 1];
    for (int i = 0; i < counts.length && i < size; i++) {
      starts[i + 1] = starts[i] + counts[i];
    }
    boolean negative = IntStream.of(counts).anyMatch(c -> c < 0);
    if (counts.length != size || negative || starts[size] != x.size()) {
      throw new IllegalArgumentException(
          "the counts "
              + Arrays.toString(counts)
              + " are not shares of "
              + x
              + " for a group of "
              + size);
    }
    return starts;
  }

  /** Leaves the group. */
  @Override
  public void close() {
    member.close();
  }
}
