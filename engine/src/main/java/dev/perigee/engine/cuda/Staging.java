package dev.perigee.engine.cuda;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.DeviceMemory;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.cuda.kernels.Bfloat16;
import java.nio.ByteBuffer;
import java.nio.ShortBuffer;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.locks.LockSupport;

/**
 * The way of small things between host and device: pinned memory that copies go through. Copies of
 * indices to the device do not wait; copies of results to the host do.
 *
 * <p>Indices lie in a ring, on the host and on the device alike. A place in it is used again only
 * after the device has caught up, so that no copy and no kernel sees another's indices.
 */
final class Staging {
  private static final int SMALLEST_RING = 1 << 20;
  private static final int CHUNK = 1 << 22;
  private static final long LOOK_AGAIN_NANOS = 20_000;

  private final Queue queue;
  private final DeviceMemory memory;
  private ByteBuffer ringOnHost;
  private DeviceBuffer ring;
  private int used;
  private ByteBuffer chunk;

  /** What never changes, by its numbers: sent once. */
  private final Map<List<Integer>, DeviceBuffer> constants = new HashMap<>();

  /** Pinned memory for what is fetched, by its bytes, that nothing is in. */
  private final Map<Integer, Deque<ByteBuffer>> fetched = new HashMap<>();

  private boolean recording;

  Staging(Queue queue, DeviceMemory memory) {
    this.queue = queue;
    this.memory = memory;
    reserve(SMALLEST_RING);
  }

  private void reserve(int bytes) {
    ringOnHost = memory.pinned(bytes);
    ring = memory.allocate(bytes);
    used = 0;
  }

  /** Says whether what is asked for from now on is recorded instead of done. */
  synchronized void recording(boolean is) {
    recording = is;
  }

  /**
   * Throws while work is recorded, for a recording would repeat what the host had at the time.
   *
   * @throws NotRecordableException then
   */
  synchronized void needsHost(String what) {
    if (recording) {
      throw new NotRecordableException(what);
    }
  }

  /** Integers on the device that never change. */
  synchronized DeviceBuffer constants(int... values) {
    return constants.computeIfAbsent(
        Arrays.stream(values).boxed().toList(),
        _ -> {
          needsHost("a new constant");
          DeviceBuffer there = memory.allocate(Math.max(4, 4L * values.length));
          send(values, there);
          return there;
        });
  }

  /**
   * Indices on the device, for the one launch that is queued next: the next call may use their
   * place again.
   */
  synchronized DeviceBuffer indices(int... values) {
    int at = place(values);
    DeviceBuffer device = ring.slice(at, Math.max(4, 4 * values.length));
    queue.upload(part(ringOnHost, at, Math.max(4, 4 * values.length)), device);
    return device;
  }

  /** Copies integers to the device after the work that is queued, without waiting for it. */
  synchronized void send(int[] values, DeviceBuffer to) {
    if (values.length > 0) {
      queue.upload(part(ringOnHost, place(values), 4 * values.length), to);
    }
  }

  /** Puts integers into the ring on the host; returns where. */
  private int place(int[] values) {
    needsHost("a copy from the host");
    int bytes = Math.max(4, 4 * values.length);
    if (bytes > ring.bytes() - used) {
      queue.synchronize();
      used = 0;
      if (bytes > ring.bytes()) {
        reserve(Integer.highestOneBit(bytes - 1) * 2);
      }
    }
    int at = used;
    part(ringOnHost, at, bytes).asIntBuffer().put(values);
    used += (bytes + 255) / 256 * 256; // kernels may read whole words
    used = Math.min(used, (int) ring.bytes());
    return at;
  }

  /** Waits for the device and copies float32 numbers from it; any thread may ask. */
  synchronized void read(DeviceBuffer from, float[] to, int at, int count) {
    needsHost("a copy to the host");
    queue.bind();
    for (int done = 0; done < count; ) {
      int n = Math.min(CHUNK / 4, count - done);
      ByteBuffer host = download(from.slice(4L * done, 4L * n));
      host.asFloatBuffer().get(to, at + done, n);
      done += n;
    }
  }

  /** Copies float32 numbers to the device after the work that is queued; any thread may ask. */
  synchronized void write(float[] from, int at, int count, DeviceBuffer to) {
    needsHost("a copy from the host");
    queue.bind();
    for (int done = 0; done < count; ) {
      int n = Math.min(CHUNK / 4, count - done);
      ByteBuffer host = part(chunk(), 0, 4 * n);
      host.asFloatBuffer().put(from, at + done, n);
      queue.upload(host, to.slice(4L * done, 4L * n));
      queue.synchronize();
      done += n;
    }
  }

  /** {@link #read} of bf16 numbers. */
  synchronized void readBf16(DeviceBuffer from, float[] to, int at, int count) {
    queue.bind();
    for (int done = 0; done < count; ) {
      int n = Math.min(CHUNK / 2, count - done);
      ShortBuffer host = download(from.slice(2L * done, 2L * n)).asShortBuffer();
      for (int i = 0; i < n; i++) {
        to[at + done + i] = Bfloat16.toFloat(host.get(i));
      }
      done += n;
    }
  }

  /** {@link #write} to bf16 numbers, which rounds. */
  synchronized void writeBf16(float[] from, int at, int count, DeviceBuffer to) {
    needsHost("a copy from the host");
    queue.bind();
    for (int done = 0; done < count; ) {
      int n = Math.min(CHUNK / 2, count - done);
      ByteBuffer host = part(chunk(), 0, 2 * n);
      ShortBuffer numbers = host.asShortBuffer();
      for (int i = 0; i < n; i++) {
        numbers.put(i, Bfloat16.of(from[at + done + i]));
      }
      queue.upload(host, to.slice(2L * done, 2L * n));
      queue.synchronize();
      done += n;
    }
  }

  /** Lets the work that is queued from now on wait for what is before {@code mark}. */
  void after(Queue.Mark mark) {
    queue.bind();
    queue.after(mark);
  }

  /** Copies on the device after the work that is queued; any thread may ask. */
  void copy(DeviceBuffer from, DeviceBuffer to) {
    queue.bind();
    if (from.bytes() > 0) {
      queue.copy(from, to);
    }
  }

  /** Waits for the device and copies integers from it. */
  synchronized void read(DeviceBuffer from, int[] to) {
    for (int done = 0; done < to.length; ) {
      int n = Math.min(CHUNK / 4, to.length - done);
      download(from.slice(4L * done, 4L * n)).asIntBuffer().get(to, done, n);
      done += n;
    }
  }

  /**
   * Integers on their way to the host.
   *
   * @param numbers what they will be in
   * @param there passes when they are
   */
  record Coming(ByteBuffer numbers, Queue.Mark there) {}

  /** Queues the way of integers to the host, for {@link #take}. */
  synchronized Coming fetch(DeviceBuffer from) {
    needsHost("a copy to the host");
    int bytes = (int) from.bytes();
    Deque<ByteBuffer> reusable = fetched.get(bytes);
    ByteBuffer numbers =
        reusable == null || reusable.isEmpty() ? memory.pinned(bytes) : reusable.pop();
    queue.download(from, numbers);
    return new Coming(numbers, queue.mark());
  }

  /** Waits for integers that were fetched, on any thread, and keeps none from queueing more. */
  void take(Coming coming, int[] to) {
    queue.bind();
    while (!coming.there.isPast()) {
      LockSupport.parkNanos(LOOK_AGAIN_NANOS);
    }
    coming.there.close();
    coming.numbers.asIntBuffer().get(to);
    synchronized (this) {
      fetched
          .computeIfAbsent(coming.numbers.capacity(), n -> new ArrayDeque<>())
          .push(coming.numbers);
    }
  }

  /** Waits for the device and copies one float64 number from it. */
  synchronized double readDouble(DeviceBuffer from) {
    return download(from.slice(0, 8)).getDouble(0);
  }

  private ByteBuffer download(DeviceBuffer from) {
    needsHost("a copy to the host");
    ByteBuffer host = part(chunk(), 0, (int) from.bytes());
    queue.download(from, host);
    queue.synchronize();
    return host;
  }

  private ByteBuffer chunk() {
    if (chunk == null) {
      chunk = memory.pinned(CHUNK);
    }
    return chunk;
  }

  /** A view whose own first byte is the part's: native copies know nothing of positions. */
  private static ByteBuffer part(ByteBuffer whole, int at, int bytes) {
    return whole.slice(at, bytes).order(whole.order());
  }
}
