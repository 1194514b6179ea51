package dev.perigee.engine.cuda;

import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.tensor.Tensor;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import java.util.stream.IntStream;

/**
 * The operations of a group of GPUs through {@link Nccl}, straight between the tensors on them.
 * Tensors on the host go by way of the device. One instance belongs to one rank's thread.
 *
 * <p>Sums are the same on every rank and in every run with the same ranks on the same machines, but
 * their order is NCCL's and not that of ranks in other groups; {@link #reduceScatterSum} and {@link
 * #allReduceSum(Tensor)} may differ in the last bit.
 *
 * <p>NCCL itself waits for a lost peer for ever. So each operation waits here, until it is done, or
 * NCCL knows of an error, or {@code ended} says why work together has ended, as a pod's connections
 * find out; then the communicator is aborted.
 */
public final class NcclCollectives implements Collectives, AutoCloseable {
  private static final long LOOK_AGAIN_NANOS = 20_000;

  /**
   * A device's work in order, as NCCL needs it.
   *
   * @param stream the driver's handle of {@code queue}
   * @param idle whether everything put into it is done
   */
  record Line(Queue queue, DeviceMemory memory, long stream, BooleanSupplier idle) {}

  private final Nccl nccl;
  private final Line line;
  private final int size;
  private final int index;
  private final long communicator;
  private final Supplier<Optional<String>> ended;
  private final Staged first = new Staged();
  private final Staged second = new Staged();
  private String lost; // why, once it is

  private NcclCollectives(
      Nccl nccl,
      Line line,
      int size,
      int index,
      long communicator,
      Supplier<Optional<String>> ended) {
    this.nccl = nccl;
    this.line = line;
    this.size = size;
    this.index = index;
    this.communicator = communicator;
    this.ended = ended;
  }

  /** Why NCCL cannot be used on this machine, in one line; empty when it can. */
  public static Optional<String> whyAbsent() {
    return NcclLibrary.load().isPresent() ? Optional.empty() : Optional.of(NcclLibrary.ABSENT);
  }

  /**
   * Joins a group; every rank of it calls this.
   *
   * @param stream in whose order the operations run: that of the work on their tensors
   * @param memory for what goes by way of the device
   * @param meeting the same group by other means, over which NCCL's own name for it is told
   * @param ended why work together has ended, empty while it has not: {@code fabric::failure}
   * @throws CudaException when NCCL is not on this machine, or refuses
   */
  public static NcclCollectives join(
      Stream stream, DeviceMemory memory, Collectives meeting, Supplier<Optional<String>> ended) {
    Nccl nccl = NcclLibrary.load().orElseThrow(() -> new CudaException(NcclLibrary.ABSENT));
    Line line = new Line(stream, memory, stream.handle(), stream::isIdle);
    return join(nccl, line, meeting, ended);
  }

  static NcclCollectives join(
      Nccl nccl, Line line, Collectives meeting, Supplier<Optional<String>> ended) {
    double[] told = new double[Nccl.ID_BYTES];
    if (meeting.index() == 0) {
      byte[] id = nccl.uniqueId();
      Arrays.setAll(told, i -> id[i]);
    }
    meeting.allReduceSum(told); // the others have said zero
    byte[] id = new byte[Nccl.ID_BYTES];
    for (int i = 0; i < id.length; i++) {
      id[i] = (byte) told[i];
    }
    line.queue.bind();
    long communicator = nccl.initRank(meeting.size(), id, meeting.index());
    return new NcclCollectives(nccl, line, meeting.size(), meeting.index(), communicator, ended);
  }

  @Override
  public int size() {
    return size;
  }

  @Override
  public int index() {
    return index;
  }

  /** Memory of the device through which a tensor of the host goes, kept for the next one. */
  private final class Staged {
    private ByteBuffer host = ByteBuffer.allocate(0);
    private DeviceBuffer device;

    /** At least so many bytes; the host's view is exactly that long. */
    ByteBuffer of(long bytes) {
      if (device == null || device.bytes() < bytes) {
        if (device != null) {
          line.memory.free(device);
        }
        device = line.memory.allocate(bytes);
        host = line.memory.pinned(bytes);
      }
      return host.slice(0, Math.toIntExact(bytes)).order(host.order());
    }

    DeviceBuffer upload(Tensor x) {
      long bytes = (long) Float.BYTES * x.size();
      ByteBuffer copy = of(bytes);
      copy.asFloatBuffer().put(x.floats(), x.offset(), x.size());
      line.queue.upload(copy, device.slice(0, bytes));
      return device.slice(0, bytes);
    }

    ByteBuffer download(long bytes) {
      ByteBuffer copy = of(bytes);
      line.queue.download(device.slice(0, bytes), copy);
      line.queue.synchronize();
      return copy;
    }

    void download(Tensor x) {
      download((long) Float.BYTES * x.size()).asFloatBuffer().get(x.floats(), x.offset(), x.size());
    }
  }

  /** Where a tensor's numbers are on the device, brought there if need be. */
  private DeviceBuffer there(Staged by, Tensor x) {
    line.queue.bind();
    return x.isOnHost() ? by.upload(x) : TensorMemory.floats(x);
  }

  /** Brings what was changed there back to where the tensor is. */
  private static void back(Staged by, Tensor x) {
    if (x.isOnHost()) {
      by.download(x);
    }
  }

  /** Puts in calls that go on together, and waits until they are done. */
  private void together(Runnable calls) {
    if (lost != null) {
      throw new LostPeerException(lost);
    }
    line.queue.bind();
    nccl.groupStart();
    calls.run();
    nccl.groupEnd();
    while (!line.idle.getAsBoolean()) {
      String error = nccl.asyncError(communicator);
      String why = error == null ? ended.get().orElse(null) : "NCCL lost a peer: " + error;
      if (why != null) {
        lost = why;
        nccl.abort(communicator);
        throw new LostPeerException(why);
      }
      LockSupport.parkNanos(LOOK_AGAIN_NANOS);
    }
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
    DeviceBuffer there = there(first, x);
    allReduce(there, x.size(), Nccl.Type.FLOAT32, op);
    back(first, x);
  }

  private void allReduce(DeviceBuffer x, int count, Nccl.Type type, Nccl.Op op) {
    together(
        () -> nccl.allReduce(x.address(), x.address(), count, type, op, communicator, line.stream));
  }

  @Override
  public void allReduceSum(double[] x) {
    long bytes = (long) Double.BYTES * x.length;
    line.queue.bind();
    ByteBuffer copy = first.of(bytes);
    copy.asDoubleBuffer().put(x);
    line.queue.upload(copy, first.device.slice(0, bytes));
    allReduce(first.device, x.length, Nccl.Type.FLOAT64, Nccl.Op.SUM);
    first.download(bytes).asDoubleBuffer().get(x);
  }

  @Override
  public void reduceScatterSum(Tensor x, int[] counts) {
    long[] starts = starts(x, counts);
    DeviceBuffer there = there(first, x);
    // Shares of different sizes: NCCL's own reduce-scatter wants equal ones.
    together(
        () -> {
          for (int i = 0; i < size; i++) {
            if (counts[i] > 0) {
              long at = there.address() + Float.BYTES * starts[i];
              nccl.reduce(
                  at, at, counts[i], Nccl.Type.FLOAT32, Nccl.Op.SUM, i, communicator, line.stream);
            }
          }
        });
    back(first, x);
  }

  @Override
  public void allGather(Tensor x, int[] counts) {
    long[] starts = starts(x, counts);
    DeviceBuffer there = there(first, x);
    together(
        () -> {
          for (int i = 0; i < size; i++) {
            if (counts[i] > 0) {
              broadcast(there.address() + Float.BYTES * starts[i], counts[i], i);
            }
          }
        });
    back(first, x);
  }

  @Override
  public void allGather(Tensor part, Tensor whole) {
    if (whole.size() != Math.multiplyExact(part.size(), size)) {
      throw new IllegalArgumentException(
          "all-gather of " + size + " times " + part + " into " + whole);
    }
    DeviceBuffer to = there(first, whole);
    DeviceBuffer from = there(second, part);
    long bytes = (long) Float.BYTES * part.size();
    line.queue.copy(from, to.slice(index * bytes, bytes));
    together(
        () -> {
          for (int i = 0; i < size; i++) {
            broadcast(to.address() + i * bytes, part.size(), i);
          }
        });
    back(first, whole);
  }

  private void broadcast(long at, int count, int root) {
    nccl.broadcast(at, at, count, Nccl.Type.FLOAT32, root, communicator, line.stream);
  }

  @Override
  public void broadcast(Tensor x, int root) {
    DeviceBuffer there = there(first, x);
    together(() -> broadcast(there.address(), x.size(), root));
    back(first, x);
  }

  @Override
  public int[] allToAllCounts(int[] values) {
    if (values.length != size) {
      throw new IllegalArgumentException(values.length + " counts for a group of " + size);
    }
    long bytes = (long) Integer.BYTES * size;
    line.queue.bind();
    ByteBuffer copy = first.of(bytes);
    copy.asIntBuffer().put(values);
    line.queue.upload(copy, first.device.slice(0, bytes));
    second.of(bytes);
    together(
        () -> {
          for (int i = 0; i < size; i++) {
            long at = (long) Integer.BYTES * i;
            nccl.send(
                first.device.address() + at, 1, Nccl.Type.INT32, i, communicator, line.stream);
            nccl.receive(
                second.device.address() + at, 1, Nccl.Type.INT32, i, communicator, line.stream);
          }
        });
    int[] got = new int[size];
    second.download(bytes).asIntBuffer().get(got);
    return got;
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
    long[] receiveStarts = starts(receive, counts);
    DeviceBuffer from = there(first, send);
    DeviceBuffer to = there(second, receive);
    together(
        () -> {
          for (int i = 0; i < size; i++) {
            if (sendCounts[i] > 0) {
              long at = from.address() + Float.BYTES * sendStarts[i];
              nccl.send(at, sendCounts[i], Nccl.Type.FLOAT32, i, communicator, line.stream);
            }
            if (counts[i] > 0) {
              long at = to.address() + Float.BYTES * receiveStarts[i];
              nccl.receive(at, counts[i], Nccl.Type.FLOAT32, i, communicator, line.stream);
            }
          }
        });
    back(second, receive);
  }

  /**
   * {@inheritDoc}
   *
   * <p>NCCL has no streams of messages: between two ranks everything arrives in the order in which
   * it was sent, so receives must be in that order, whatever the stream. And it waits until the
   * other side receives.
   */
  @Override
  public void send(int to, int stream, Tensor x) {
    DeviceBuffer there = there(first, x);
    together(
        () ->
            nccl.send(there.address(), x.size(), Nccl.Type.FLOAT32, to, communicator, line.stream));
  }

  @Override
  public void receive(int from, int stream, Tensor x) {
    DeviceBuffer there = there(first, x);
    together(
        () ->
            nccl.receive(
                there.address(), x.size(), Nccl.Type.FLOAT32, from, communicator, line.stream));
    back(first, x);
  }

  @Override
  public void barrier() {
    allReduceSum(new double[1]);
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
    if (lost == null) {
      nccl.destroy(communicator);
    }
  }
}
