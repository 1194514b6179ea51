package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.DeviceTensors;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.cuda.kernels.Bfloat16;
import dev.perigee.engine.cuda.nccl.NcclMember.Line;
import dev.perigee.engine.cuda.nccl.NcclPipeline.Letter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.StagedCollectives;
import dev.perigee.engine.tensor.Tensor;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;

/** The end of a direction of an {@link NcclPipeline}. */
final class NcclReceiver {
  private static final int SENDER = 0;

  private final Nccl nccl;
  private final NcclMember member;
  private final Line line;
  private final Collectives beneath;
  private final int from;
  private final Rooms rooms;

  /** What has arrived and was not asked for yet, by stream. */
  private final Map<Integer, Deque<Arrived>> arrived = new HashMap<>();

  private ByteBuffer pinned; // for tensors on the host; null before the first

  /**
   * A message.
   *
   * @param room that its numbers are in; null when they come through the group beneath
   */
  private record Arrived(Letter letter, DeviceBuffer room) {}

  NcclReceiver(Nccl nccl, NcclMember member, Line line, Collectives beneath, int from) {
    this.nccl = nccl;
    this.member = member;
    this.line = line;
    this.beneath = beneath;
    this.from = from;
    this.rooms = new Rooms(line.memory());
  }

  /** Receives what {@link NcclSender#begin} sends. */
  void begin() {
    DeviceBuffer room = rooms.take(Float.BYTES);
    member.operate(() -> call(room, new Letter(0, 1, Nccl.Type.FLOAT32)));
    rooms.giveBack(room);
  }

  private void call(DeviceBuffer to, Letter letter) {
    member.together(
        () ->
            nccl.receive(
                to.address(),
                letter.count(),
                letter.type(),
                SENDER,
                member.communicator(),
                line.stream()));
  }

  /** Waits until a tensor has arrived; work that is queued from now on finds it in {@code x}. */
  void receive(int stream, Tensor x) {
    member.checkHere();
    Deque<Arrived> mine = of(stream);
    while (mine.isEmpty()) {
      takeNext();
    }
    Arrived next = mine.remove();
    if (next.letter.count() != x.size()) {
      throw new IllegalStateException(
          "stage %d sends %d numbers on stream %d where %d were expected"
              .formatted(from, next.letter.count(), stream, x.size()));
    }
    if (next.room != null) {
      deliver(next, x);
    } else {
      new StagedCollectives(beneath).receive(from, stream, x);
    }
  }

  private Deque<Arrived> of(int stream) {
    return arrived.computeIfAbsent(stream, n -> new ArrayDeque<>());
  }

  /** The next message, whichever stream it is of: the sender waits with those behind it. */
  private void takeNext() {
    Letter letter = Letter.receive(beneath, from);
    DeviceBuffer room = null;
    if (letter.type() != null) {
      line.queue().bind();
      room = rooms.take(letter.bytes());
      beneath.send(from, NcclPipeline.ANSWERS, Tensor.zeros(1));
      DeviceBuffer to = room;
      member.operate(() -> call(to, letter));
    }
    of(letter.stream()).add(new Arrived(letter, room));
  }

  /** Queues the way from a room into a tensor. */
  private void deliver(Arrived next, Tensor x) {
    Queue tensors = line.tensors();
    DeviceBuffer numbers = next.room.slice(0, next.letter.bytes());
    if (x.isOnHost()) {
      toHost(numbers, next.letter.type(), x);
      rooms.giveBack(next.room);
      return;
    }
    tensors.bind();
    DeviceBuffer to = DeviceTensors.written(x);
    if (NcclCollectives.type(x) == next.letter.type()) {
      tensors.copy(numbers, to);
    } else if (next.letter.type() == Nccl.Type.BF16) {
      tensors.launch(DeviceTensors.widen(numbers, to));
    } else {
      tensors.launch(DeviceTensors.round(numbers, to));
    }
    rooms.giveBack(next.room, tensors.mark());
  }

  private void toHost(DeviceBuffer numbers, Nccl.Type type, Tensor x) {
    int bytes = Math.toIntExact(numbers.bytes());
    if (pinned == null || pinned.capacity() < bytes) {
      pinned = line.memory().pinned(bytes);
    }
    ByteBuffer copy = pinned.slice(0, bytes).order(pinned.order());
    member.operate(() -> line.queue().download(numbers, copy));
    if (type == Nccl.Type.BF16) {
      for (int i = 0; i < x.size(); i++) {
        x.floats()[x.offset() + i] = Bfloat16.toFloat(copy.getShort(Short.BYTES * i));
      }
    } else {
      copy.asFloatBuffer().get(x.floats(), x.offset(), x.size());
    }
  }
}
