package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.nccl.NcclMember.Line;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fellowship;
import dev.perigee.engine.parallel.StagedCollectives;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * A pipeline's group whose stages send each other tensors from GPU to GPU, through {@link Nccl}.
 * Everything else that the group does, which is small, and what travels between stages that are no
 * neighbours, goes through the group given at the beginning. One instance belongs to one thread at
 * a time.
 *
 * <p>NCCL's send occupies a part of its GPU until its receiver comes, and the sends of one stream
 * are in line behind it; a schedule's send must not wait, and receives may be asked for in another
 * order than sends were made in. So each direction between two stages has a communicator and a
 * stream of its own, and NCCL is not called before both sides are there:
 *
 * <ol>
 *   <li>The sender's thread queues a copy of the tensor into {@link Rooms memory of its own} behind
 *       the work that makes it, and goes on. The rest is the direction's own thread's: {@link
 *       NcclSender}.
 *   <li>Once the copy is there, a {@link Letter} of a few numbers is sent over the connection
 *       beneath.
 *   <li>The receiver's thread, when it waits for a tensor, takes letters in their order, and
 *       answers each that it is ready; then both call NCCL. What was not asked for yet is kept:
 *       {@link NcclReceiver}.
 * </ol>
 *
 * <p>A lost peer ends every wait, as {@link NcclMember} says.
 */
final class NcclPipeline implements Collectives, AutoCloseable {
  /** Streams of the group beneath, the last ones there are: letters and NCCL's names. */
  static final int LETTERS = (1 << 23) - 1;

  /** And answers, in the other direction. */
  static final int ANSWERS = LETTERS - 1;

  /**
   * A direction between two stages.
   *
   * @param from sender
   * @param to receiver
   */
  record Direction(int from, int to) {}

  /**
   * What is known of a message before it arrives.
   *
   * @param stream of {@link Collectives#send}
   * @param count elements
   * @param type null when the tensor goes through the group beneath
   */
  record Letter(int stream, int count, Nccl.Type type) {
    /** Numbers that float32 holds exactly are below 2²⁴; a count is told in two parts. */
    private static final int PART = 1 << 20;

    private static final int NUMBERS = 4;
    private static final int BENEATH = -1;

    void send(Collectives beneath, int to) {
      int[] numbers = {stream, count / PART, count % PART, type == null ? BENEATH : type.code};
      Tensor told = Tensor.zeros(NUMBERS);
      for (int i = 0; i < NUMBERS; i++) {
        told.floats()[i] = numbers[i];
      }
      beneath.send(to, LETTERS, told);
    }

    static Letter receive(Collectives beneath, int from) {
      float[] told = new float[NUMBERS];
      beneath.receive(from, LETTERS, Tensor.of(told, NUMBERS));
      int high = (int) told[1];
      int low = (int) told[2];
      int code = (int) told[3];
      Nccl.Type type = null;
      for (Nccl.Type t : Nccl.Type.values()) {
        type = t.code == code ? t : type;
      }
      return new Letter((int) told[0], high * PART + low, type);
    }

    long bytes() {
      return (long) count * type.bytes;
    }
  }

  private final Collectives staged;
  private final Map<Integer, NcclSender> senders = new HashMap<>();
  private final Map<Integer, NcclReceiver> receivers = new HashMap<>();
  private final Deque<Runnable> leave = new ArrayDeque<>();

  private NcclPipeline(Collectives staged) {
    this.staged = staged;
  }

  /**
   * Joins the communicators of a pipeline's group; every stage calls this.
   *
   * @param lines opens a line for a direction; whoever gave it closes it after this
   * @param beneath the group, as it serves tensors on the host
   * @param fellowship says when work together has ended, and is told: the fabric of {@code beneath}
   */
  static NcclPipeline join(
      Nccl nccl, Supplier<Line> lines, Collectives beneath, Fellowship fellowship) {
    NcclPipeline pipeline = new NcclPipeline(new StagedCollectives(beneath));
    int self = beneath.index();
    for (Direction way : directions(beneath.size())) {
      if (way.from == self || way.to == self) {
        pipeline.join(way, nccl, lines.get(), beneath, fellowship);
      }
    }
    return pipeline;
  }

  /**
   * The directions in which tensors travel, in the order in which they are joined: joining waits
   * for the other stage, so all stages must have the same. Half of the neighbours join at the same
   * time, then the other half. The last stage sends to the first where stages have several chunks.
   */
  static List<Direction> directions(int stages) {
    List<Direction> all = new ArrayList<>();
    for (int half = 0; half < 2; half++) {
      for (int stage = half; stage + 1 < stages; stage += 2) {
        bothWays(all, stage, stage + 1);
      }
    }
    if (stages > 2) {
      bothWays(all, stages - 1, 0);
    }
    return all;
  }

  private static void bothWays(List<Direction> all, int one, int other) {
    all.add(new Direction(one, other));
    all.add(new Direction(other, one));
  }

  private void join(
      Direction way, Nccl nccl, Line line, Collectives beneath, Fellowship fellowship) {
    boolean sends = way.from == beneath.index();
    byte[] id = sends ? nccl.uniqueId() : new byte[Nccl.ID_BYTES];
    float[] told = new float[id.length];
    if (sends) {
      for (int i = 0; i < id.length; i++) {
        told[i] = id[i];
      }
      beneath.send(way.to, LETTERS, Tensor.of(told, told.length));
    } else {
      beneath.receive(way.from, LETTERS, Tensor.of(told, told.length));
      for (int i = 0; i < id.length; i++) {
        id[i] = (byte) told[i];
      }
    }
    NcclMember member = NcclMember.join(nccl, line, 2, id, sends ? 0 : 1, fellowship);
    leave.push(member::close);
    if (sends) {
      NcclSender sender = new NcclSender(nccl, member, line, beneath, way.to, fellowship);
      leave.push(sender::close); // the thread ends before the communicator that it uses
      sender.begin();
      senders.put(way.to, sender);
    } else {
      NcclReceiver receiver = new NcclReceiver(nccl, member, line, beneath, way.from);
      receiver.begin();
      receivers.put(way.from, receiver);
    }
  }

  @Override
  public int size() {
    return staged.size();
  }

  @Override
  public int index() {
    return staged.index();
  }

  @Override
  public void send(int to, int stream, Tensor x) {
    NcclSender sender = senders.get(to);
    if (sender == null) {
      staged.send(to, stream, x);
    } else {
      sender.send(stream, x);
    }
  }

  @Override
  public void receive(int from, int stream, Tensor x) {
    NcclReceiver receiver = receivers.get(from);
    if (receiver == null) {
      staged.receive(from, stream, x);
    } else {
      receiver.receive(stream, x);
    }
  }

  @Override
  public Tensor buffer(int count) {
    return staged.buffer(count);
  }

  @Override
  public void allReduceSum(Tensor x) {
    staged.allReduceSum(x);
  }

  @Override
  public void allReduceMax(Tensor x) {
    staged.allReduceMax(x);
  }

  @Override
  public void allReduceSum(double[] x) {
    staged.allReduceSum(x);
  }

  @Override
  public void reduceScatterSum(Tensor x, int[] counts) {
    staged.reduceScatterSum(x, counts);
  }

  @Override
  public void allGather(Tensor x, int[] counts) {
    staged.allGather(x, counts);
  }

  @Override
  public void allGather(Tensor part, Tensor whole) {
    staged.allGather(part, whole);
  }

  @Override
  public int[] allToAllCounts(int[] values) {
    return staged.allToAllCounts(values);
  }

  @Override
  public void allToAll(Tensor send, int[] sendRows, Tensor receive, int[] receiveRows) {
    staged.allToAll(send, sendRows, receive, receiveRows);
  }

  @Override
  public void broadcast(Tensor x, int root) {
    staged.broadcast(x, root);
  }

  @Override
  public void barrier() {
    staged.barrier();
  }

  /** Leaves the communicators; what was sent and nobody has received is lost. */
  @Override
  public void close() {
    while (!leave.isEmpty()) {
      leave.pop().run();
    }
  }
}
