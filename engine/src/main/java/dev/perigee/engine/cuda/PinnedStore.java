package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.HostStore;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.DeviceMemory;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.tensor.Tensor;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Pinned memory of the host for tensors of a device. Copies run in a queue of their own, beside the
 * device's other work: a copy out begins when the work before it is done, and the memory that it
 * reads is handed out again only after it; a copy back begins likewise, and work that wants the
 * numbers waits for it on the device. The host waits for neither.
 *
 * <p>Only that queue touches the pinned memory, so what has been brought back may be written over
 * by the next copy that is queued.
 */
final class PinnedStore implements HostStore {
  /** One native buffer holds at most 2 GiB. */
  private static final long PIECE = 1L << 30;

  private final Queue tensors;
  private final Queue copies;
  private final DeviceMemory memory;
  private final Map<Long, Deque<List<ByteBuffer>>> idle = new HashMap<>();
  private long currentBytes;
  private long peakBytes;

  /**
   * A store.
   *
   * @param tensors where work on tensors is queued
   * @param copies where copies to the host and back are queued, and nothing else
   */
  PinnedStore(Queue tensors, Queue copies, DeviceMemory memory) {
    this.tensors = tensors;
    this.copies = copies;
    this.memory = memory;
  }

  /** What was taken in; {@code back} is when it is back, null before. */
  private static final class Held implements Copy {
    private final List<ByteBuffer> pieces;
    private final long room;
    private Queue.Mark back;

    Held(List<ByteBuffer> pieces, long room) {
      this.pieces = pieces;
      this.room = room;
    }
  }

  @Override
  public Copy put(Tensor x) {
    DeviceBuffer from = TensorMemory.of(x);
    // Rows differ from step to step; the arena's memory comes in few sizes.
    long room = (long) x.storage().width() * x.storage().length();
    Deque<List<ByteBuffer>> reusable = idle.get(room);
    List<ByteBuffer> pieces =
        reusable == null || reusable.isEmpty() ? pinned(room) : reusable.pop();
    copies.after(tensors);
    for (int i = 0; i * PIECE < from.bytes(); i++) {
      long n = Math.min(PIECE, from.bytes() - i * PIECE);
      copies.download(from.slice(i * PIECE, n), piece(pieces.get(i), n));
    }
    TensorMemory.numbers(x).busyUntil(copies.mark());
    currentBytes += from.bytes();
    peakBytes = Math.max(peakBytes, currentBytes);
    return new Held(pieces, room);
  }

  private List<ByteBuffer> pinned(long bytes) {
    List<ByteBuffer> pieces = new ArrayList<>();
    for (long at = 0; at < bytes; at += PIECE) {
      pieces.add(memory.pinned(Math.min(PIECE, bytes - at)));
    }
    return pieces;
  }

  private static ByteBuffer piece(ByteBuffer whole, long bytes) {
    return whole.slice(0, (int) bytes).order(whole.order());
  }

  @Override
  public void bringBack(Copy copy, Tensor x) {
    Held held = (Held) copy;
    DeviceBuffer to = Work.written(x);
    copies.after(tensors); // which may still use the memory for what was there before
    for (int i = 0; i * PIECE < to.bytes(); i++) {
      long n = Math.min(PIECE, to.bytes() - i * PIECE);
      copies.upload(piece(held.pieces.get(i), n), to.slice(i * PIECE, n));
    }
    TensorMemory.numbers(x).busyUntil(copies.mark());
    held.back = copies.mark();
    idle.computeIfAbsent(held.room, n -> new ArrayDeque<>()).push(held.pieces);
    currentBytes -= to.bytes();
  }

  @Override
  public void await(Copy copy) {
    Held held = (Held) copy;
    tensors.after(held.back);
    held.back.close();
  }

  @Override
  public long currentBytes() {
    return currentBytes;
  }

  @Override
  public long peakBytes() {
    return peakBytes;
  }
}
