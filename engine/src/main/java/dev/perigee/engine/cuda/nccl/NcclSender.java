package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.DeviceTensors;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.cuda.nccl.NcclMember.Line;
import dev.perigee.engine.cuda.nccl.NcclPipeline.Letter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fellowship;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.tensor.Tensor;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** The beginning of a direction of an {@link NcclPipeline}, and the thread that serves it. */
final class NcclSender implements AutoCloseable {
  /** How long what is under way may take to end when the group is left. */
  private static final Duration ENDS_WITHIN = Duration.ofSeconds(1);

  private static final int RECEIVER = 1;

  private final Nccl nccl;
  private final NcclMember member;
  private final Line line;
  private final Collectives beneath;
  private final int to;
  private final Fellowship fellowship;
  private final Rooms rooms;
  private final BlockingQueue<Parcel> parcels = new LinkedBlockingQueue<>();
  private final Thread thread;
  private volatile boolean closed;
  private volatile Throwable failure;

  /**
   * Something to send.
   *
   * @param letter null for the last, after which there is nothing more
   * @param copy of the tensor; null when it goes through the group beneath
   * @param made passes when the copy is there
   */
  private record Parcel(Letter letter, DeviceBuffer copy, Queue.Mark made) {
    private static final Parcel LAST = new Parcel(null, null, null);
  }

  NcclSender(
      Nccl nccl, NcclMember member, Line line, Collectives beneath, int to, Fellowship fellowship) {
    this.nccl = nccl;
    this.member = member;
    this.line = line;
    this.beneath = beneath;
    this.to = to;
    this.fellowship = fellowship;
    this.rooms = new Rooms(line.memory());
    this.thread =
        Thread.ofPlatform()
            .daemon()
            .name(Thread.currentThread().getName() + " sends to stage " + to)
            .unstarted(this::serve);
  }

  /**
   * Sends a number that means nothing: what NCCL sends first lets both sides connect, which waits
   * for the other inside of a call.
   */
  void begin() {
    DeviceBuffer room = rooms.take(Float.BYTES);
    member.operate(() -> call(room, new Letter(0, 1, Nccl.Type.FLOAT32)));
    rooms.giveBack(room);
    thread.start();
  }

  private void call(DeviceBuffer from, Letter letter) {
    member.together(
        () ->
            nccl.send(
                from.address(),
                letter.count(),
                letter.type(),
                RECEIVER,
                member.communicator(),
                line.stream()));
  }

  /** Sends a tensor, which may be changed afterwards; waits for nothing. */
  void send(int stream, Tensor x) {
    checkServes();
    if (x.isOnHost() || x.size() == 0) {
      beneath.send(to, stream, x.onHost());
      parcels.add(new Parcel(new Letter(stream, x.size(), null), null, null));
      return;
    }
    Queue tensors = line.tensors();
    tensors.bind();
    DeviceBuffer from = DeviceTensors.read(x);
    DeviceBuffer copy = rooms.take(from.bytes());
    tensors.copy(from, copy.slice(0, from.bytes()));
    Letter letter = new Letter(stream, x.size(), NcclCollectives.type(x));
    parcels.add(new Parcel(letter, copy, tensors.mark()));
  }

  private void checkServes() {
    member.checkHere();
    if (failure instanceof LostPeerException lost) {
      throw new LostPeerException(lost.getMessage(), lost);
    } else if (failure != null) {
      throw new IllegalStateException("cannot send to stage " + to + ": " + failure, failure);
    }
  }

  private void serve() {
    try {
      line.queue().bind();
      for (Parcel p = parcels.take(); p.letter != null; p = parcels.take()) {
        carry(p);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      failed(e);
    } catch (RuntimeException | Error e) {
      failed(e);
    }
  }

  /** The rank's own thread may wait for something else for ever, and the receiver for this. */
  private void failed(Throwable e) {
    failure = e;
    if (!closed) {
      fellowship.abort(
          e instanceof LostPeerException
              ? e.getMessage()
              : "%s failed: %s".formatted(thread.getName(), e));
    }
  }

  private void carry(Parcel p) {
    if (p.copy == null) {
      p.letter.send(beneath, to);
      return;
    }
    member.await(p.made::isPast);
    p.made.close();
    p.letter.send(beneath, to);
    beneath.receive(to, NcclPipeline.ANSWERS, Tensor.zeros(1));
    member.operate(() -> call(p.copy, p.letter));
    rooms.giveBack(p.copy);
  }

  /** Ends the thread; what waits for a receiver that does not come is given up. */
  @Override
  public void close() {
    closed = true;
    parcels.add(Parcel.LAST);
    try {
      if (!thread.join(ENDS_WITHIN)) {
        member.abort("this group has been left");
        thread.join(ENDS_WITHIN); // it sees that, unless it waits for an answer
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
