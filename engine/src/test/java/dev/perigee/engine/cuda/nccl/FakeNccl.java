package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.FakeGpu;
import dev.perigee.engine.cuda.driver.CudaException;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Stands for NCCL among ranks that are threads, each with a {@link FakeGpu}: does what the calls
 * promise, from the start of a group to its end at once, and keeps a record of them.
 */
final class FakeNccl implements Nccl {
  static final long STREAM = 0x57;

  /** What all ranks of a job share: the groups that they have joined, by name. */
  static final class World {
    private final Map<String, Group> groups = new ConcurrentHashMap<>();
    private final Set<String> named = ConcurrentHashMap.newKeySet();
    private final AtomicInteger names = new AtomicInteger();
  }

  /** One communicator of all its ranks. */
  private static final class Group {
    private final CyclicBarrier barrier;
    private final CountDownLatch joining;
    private final List<List<Call>> calls = new ArrayList<>();

    Group(int ranks) {
      barrier = new CyclicBarrier(ranks);
      joining = new CountDownLatch(ranks);
      for (int i = 0; i < ranks; i++) {
        calls.add(List.of());
      }
    }
  }

  /** A communicator of this rank. */
  private record Member(Group group, int rank) {}

  private enum Kind {
    ALL_REDUCE,
    REDUCE,
    BROADCAST,
    REDUCE_SCATTER,
    ALL_GATHER,
    SEND,
    RECEIVE
  }

  /** A call with what it sends; {@code other} is a root or a peer. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Call(
      Member member, Kind kind, byte[] sent, DeviceBuffer to, Type type, Op op, int other) {}

  private final World world;
  private final FakeGpu gpu;
  private final Map<Long, Member> members = new ConcurrentHashMap<>();
  private final AtomicLong nextCommunicator = new AtomicLong(0x600D);

  /** As in NCCL, calls that go on together belong to a thread. */
  @SuppressWarnings("ThreadLocalUsage") // one fake serves one test
  private final ThreadLocal<List<Call>> together = new ThreadLocal<>();

  private final CountDownLatch aborted = new CountDownLatch(1);
  final List<String> record = Collections.synchronizedList(new ArrayList<>());

  /** What NCCL has found out about work that never ends, null for work that ends. */
  volatile String error;

  /** Whether {@link #groupEnd} stays inside until the communicator is aborted. */
  volatile boolean stuck;

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
    int number = world.names.getAndIncrement();
    for (int i = 0; i < id.length; i++) {
      id[i] = (byte) (3 * i - 100 + number);
    }
    world.named.add(Arrays.toString(id));
    return id;
  }

  @Override
  public long initRank(int ranks, byte[] id, int rankHere) {
    String name = Arrays.toString(id);
    Group group = world.groups.computeIfAbsent(name, n -> new Group(ranks));
    if (!world.named.contains(name) || group.calls.size() != ranks) {
      throw new CudaException("ncclCommInitRank: not the group that was named");
    }
    group.joining.countDown();
    await(group.joining); // as the real one does
    long communicator = nextCommunicator.getAndIncrement();
    members.put(communicator, new Member(group, rankHere));
    return communicator;
  }

  @Override
  public String asyncError(long communicator) {
    return error;
  }

  @Override
  public void abort(long communicator) {
    Member member = members.get(communicator);
    left(communicator, "abort");
    aborted.countDown();
    member.group.barrier.reset();
  }

  @Override
  public void destroy(long communicator) {
    left(communicator, "destroy");
  }

  private void left(long communicator, String how) {
    if (members.remove(communicator) == null) {
      throw new CudaException("a communicator that is gone");
    }
    record.add(how);
  }

  @Override
  public void groupStart() {
    together.set(new ArrayList<>());
  }

  private void add(
      Kind kind,
      long from,
      long to,
      long count,
      Type type,
      Op op,
      int other,
      long communicator,
      long stream) {
    Member member = members.get(communicator);
    List<Call> group = together.get();
    if (stream != STREAM || group == null || member == null) {
      throw new CudaException("a call outside of its stream or group");
    }
    long bytes = count * type.bytes;
    byte[] sent = new byte[0];
    if (from != 0) {
      sent = new byte[(int) bytes];
      gpu.at(new DeviceBuffer(from, bytes)).get(sent);
    }
    group.add(new Call(member, kind, sent, new DeviceBuffer(to, bytes), type, op, other));
    record.add(kind + " " + count + " " + type + (other < 0 ? "" : " " + other));
  }

  @Override
  public void allReduce(
      long send, long receive, long count, Type type, Op op, long communicator, long stream) {
    add(Kind.ALL_REDUCE, send, receive, count, type, op, -1, communicator, stream);
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
    add(Kind.REDUCE, send, receive, count, type, op, root, communicator, stream);
  }

  @Override
  public void broadcast(
      long send, long receive, long count, Type type, int root, long communicator, long stream) {
    add(Kind.BROADCAST, send, receive, count, type, null, root, communicator, stream);
  }

  @Override
  public void reduceScatter(
      long send, long receive, long count, Type type, Op op, long communicator, long stream) {
    Member member = members.get(communicator);
    int ranks = member == null ? 1 : member.group.calls.size();
    add(Kind.REDUCE_SCATTER, send, receive, count * ranks, type, op, -1, communicator, stream);
  }

  @Override
  public void allGather(
      long send, long receive, long count, Type type, long communicator, long stream) {
    add(Kind.ALL_GATHER, send, receive, count, type, null, -1, communicator, stream);
  }

  @Override
  public void send(long from, long count, Type type, int peer, long communicator, long stream) {
    add(Kind.SEND, from, 0, count, type, null, peer, communicator, stream);
  }

  @Override
  public void receive(long to, long count, Type type, int peer, long communicator, long stream) {
    add(Kind.RECEIVE, 0, to, count, type, null, peer, communicator, stream);
  }

  @Override
  public void groupEnd() {
    List<Call> calls = together.get();
    together.remove();
    if (stuck) {
      await(aborted);
      throw new CudaException("ncclGroupEnd: error 2, aborted");
    }
    if (error != null || calls.isEmpty()) {
      return; // the work never ends, or there is none
    }
    Member member = calls.getFirst().member;
    int rank = member.rank;
    Group world = member.group;
    world.calls.set(rank, calls);
    meet(world);
    int collective = 0;
    List<Deque<byte[]>> arriving = new ArrayList<>();
    for (List<Call> theirs : world.calls) {
      Deque<byte[]> forThis = new ArrayDeque<>();
      theirs.stream()
          .filter(c -> c.kind == Kind.SEND && c.other == rank)
          .forEach(c -> forThis.add(c.sent));
      arriving.add(forThis);
    }
    for (Call call : calls) {
      switch (call.kind) {
        case SEND -> {}
        case RECEIVE -> gpu.at(call.to).put(arriving.get(call.other).remove());
        case ALL_REDUCE, REDUCE, BROADCAST, REDUCE_SCATTER, ALL_GATHER -> {
          int place = collective++;
          List<Call> all =
              world.calls.stream()
                  .map(
                      theirs ->
                          theirs.stream()
                              .filter(c -> c.kind != Kind.SEND && c.kind != Kind.RECEIVE)
                              .toList()
                              .get(place))
                  .toList();
          if (call.kind == Kind.BROADCAST) {
            gpu.at(call.to).put(all.get(call.other).sent);
          } else if (call.kind == Kind.REDUCE_SCATTER) {
            int share = call.sent.length / all.size();
            gpu.at(new DeviceBuffer(call.to.address(), share))
                .put(reduced(all), rank * share, share);
          } else if (call.kind == Kind.ALL_GATHER) {
            int share = call.sent.length;
            for (int i = 0; i < all.size(); i++) {
              gpu.at(new DeviceBuffer(call.to.address() + (long) i * share, share))
                  .put(all.get(i).sent);
            }
          } else if (call.kind == Kind.ALL_REDUCE || call.other == rank) {
            gpu.at(call.to).put(reduced(all));
          }
        }
      }
    }
    meet(world);
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

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void meet(Group group) {
    try {
      group.barrier.await();
    } catch (BrokenBarrierException e) {
      throw new CudaException("ncclGroupEnd: error 2, aborted");
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
