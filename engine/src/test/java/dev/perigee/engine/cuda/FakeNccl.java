package dev.perigee.engine.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CyclicBarrier;

/**
 * Stands for NCCL among ranks that are threads, each with a {@link FakeGpu}: does what the calls
 * promise, from the start of a group to its end at once, and keeps a record of them.
 */
final class FakeNccl implements Nccl {
  static final long COMMUNICATOR = 0x600D;
  static final long STREAM = 0x57;

  /** What the ranks share. */
  static final class World {
    private final CyclicBarrier barrier;
    private final List<List<Call>> calls = new ArrayList<>();

    World(int ranks) {
      barrier = new CyclicBarrier(ranks);
      for (int i = 0; i < ranks; i++) {
        calls.add(List.of());
      }
    }
  }

  private enum Kind {
    ALL_REDUCE,
    REDUCE,
    BROADCAST,
    SEND,
    RECEIVE
  }

  /** A call with what it sends; {@code other} is a root or a peer. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Call(Kind kind, byte[] sent, DeviceBuffer to, Type type, Op op, int other) {}

  private final World world;
  private final FakeGpu gpu;
  private int rank;
  private List<Call> group;
  final List<String> record = new ArrayList<>();
  String error;

  FakeNccl(World world, FakeGpu gpu) {
    this.world = world;
    this.gpu = gpu;
  }

  @Override
  public int version() {
    return 22703;
  }

  @Override
  public byte[] uniqueId() {
    byte[] id = new byte[ID_BYTES];
    for (int i = 0; i < id.length; i++) {
      id[i] = (byte) (3 * i - 100);
    }
    return id;
  }

  @Override
  public long initRank(int ranks, byte[] id, int rankHere) {
    if (!Arrays.equals(id, uniqueId()) || ranks != world.calls.size()) {
      throw new CudaException("ncclCommInitRank: not the group that was named");
    }
    rank = rankHere;
    return COMMUNICATOR;
  }

  @Override
  public String asyncError(long communicator) {
    return error;
  }

  @Override
  public void abort(long communicator) {
    record.add("abort");
  }

  @Override
  public void destroy(long communicator) {
    record.add("destroy");
  }

  @Override
  public void groupStart() {
    group = new ArrayList<>();
  }

  private void add(
      Kind kind, long from, long to, long count, Type type, Op op, int other, long stream) {
    if (stream != STREAM || group == null) {
      throw new CudaException("a call outside of its stream or group");
    }
    long bytes = count * type.bytes;
    byte[] sent = new byte[0];
    if (from != 0) {
      sent = new byte[(int) bytes];
      gpu.at(new DeviceBuffer(from, bytes)).get(sent);
    }
    group.add(new Call(kind, sent, new DeviceBuffer(to, bytes), type, op, other));
    record.add(kind + " " + count + " " + type + (other < 0 ? "" : " " + other));
  }

  @Override
  public void allReduce(
      long send, long receive, long count, Type type, Op op, long communicator, long stream) {
    add(Kind.ALL_REDUCE, send, receive, count, type, op, -1, stream);
  }

  @Override
  public void reduce(
      long send,
      long receive,
      long count,
      Type type,
      Op op,
      int root,
      long communicator,
      long stream) {
    add(Kind.REDUCE, send, receive, count, type, op, root, stream);
  }

  @Override
  public void broadcast(
      long send, long receive, long count, Type type, int root, long communicator, long stream) {
    add(Kind.BROADCAST, send, receive, count, type, null, root, stream);
  }

  @Override
  public void send(long from, long count, Type type, int peer, long communicator, long stream) {
    add(Kind.SEND, from, 0, count, type, null, peer, stream);
  }

  @Override
  public void receive(long to, long count, Type type, int peer, long communicator, long stream) {
    add(Kind.RECEIVE, 0, to, count, type, null, peer, stream);
  }

  @Override
  public void groupEnd() {
    if (error != null) {
      return; // the work never ends
    }
    world.calls.set(rank, group);
    meet();
    int collective = 0;
    List<Deque<byte[]>> arriving = new ArrayList<>();
    for (List<Call> theirs : world.calls) {
      Deque<byte[]> forThis = new ArrayDeque<>();
      theirs.stream()
          .filter(c -> c.kind == Kind.SEND && c.other == rank)
          .forEach(c -> forThis.add(c.sent));
      arriving.add(forThis);
    }
    for (Call call : group) {
      switch (call.kind) {
        case SEND -> {}
        case RECEIVE -> gpu.at(call.to).put(arriving.get(call.other).remove());
        case ALL_REDUCE, REDUCE, BROADCAST -> {
          int place = collective++;
          List<Call> all =
              world.calls.stream()
                  .map(
                      calls ->
                          calls.stream()
                              .filter(c -> c.kind != Kind.SEND && c.kind != Kind.RECEIVE)
                              .toList()
                              .get(place))
                  .toList();
          if (call.kind == Kind.BROADCAST) {
            gpu.at(call.to).put(all.get(call.other).sent);
          } else if (call.kind == Kind.ALL_REDUCE || call.other == rank) {
            gpu.at(call.to).put(reduced(all));
          }
        }
      }
    }
    group = null;
    meet();
  }

  private static byte[] reduced(List<Call> all) {
    Call first = all.getFirst();
    byte[] sums = first.sent.clone();
    ByteBuffer result = bytes(sums);
    for (Call other : all.subList(1, all.size())) {
      ByteBuffer theirs = bytes(other.sent);
      for (int at = 0; at < first.sent.length; at += first.type.bytes) {
        if (first.type == Type.FLOAT64) {
          result.putDouble(at, result.getDouble(at) + theirs.getDouble(at));
        } else if (first.op == Op.SUM) {
          result.putFloat(at, result.getFloat(at) + theirs.getFloat(at));
        } else {
          result.putFloat(at, Math.max(result.getFloat(at), theirs.getFloat(at)));
        }
      }
    }
    return sums;
  }

  private static ByteBuffer bytes(byte[] of) {
    return ByteBuffer.wrap(of).order(ByteOrder.nativeOrder());
  }

  private void meet() {
    try {
      world.barrier.await();
    } catch (InterruptedException | BrokenBarrierException e) {
      throw new IllegalStateException(e);
    }
  }
}
