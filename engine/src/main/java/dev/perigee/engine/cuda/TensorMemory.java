package dev.perigee.engine.cuda;

import dev.perigee.engine.tensor.Storage;
import dev.perigee.engine.tensor.Tensor;
import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.util.HashSet;
import java.util.Set;

/**
 * Float32 memory for tensors on the device. What no tensor refers to any more is freed when the
 * next tensor is asked for; the garbage collector finds it, and is asked to when the device is
 * full.
 */
final class TensorMemory {
  private static final long COLLECTOR_PATIENCE_MS = 200;

  private final Queue queue;
  private final DeviceMemory memory;
  private final Staging staging;
  private final Set<Held> held = new HashSet<>();
  private final ReferenceQueue<Floats> dropped = new ReferenceQueue<>();

  TensorMemory(Queue queue, DeviceMemory memory, Staging staging) {
    this.queue = queue;
    this.memory = memory;
    this.staging = staging;
  }

  /** Numbers on the device. */
  static final class Floats implements Storage.DeviceFloats {
    private final DeviceBuffer buffer;
    private final Staging staging;

    private Floats(DeviceBuffer buffer, Staging staging) {
      this.buffer = buffer;
      this.staging = staging;
    }

    @Override
    public int length() {
      return (int) (buffer.bytes() / 4);
    }

    @Override
    public void read(int from, float[] to, int at, int count) {
      staging.read(buffer.slice(4L * from, 4L * count), to, at, count);
    }

    @Override
    public void write(float[] from, int at, int to, int count) {
      staging.write(from, at, count, buffer.slice(4L * to, 4L * count));
    }

    @Override
    @SuppressWarnings("ReferenceEquality") // whether it is the same device
    public void copy(Storage.DeviceFloats from, int at, int to, int count) {
      if (from instanceof Floats theirs && theirs.staging == staging) {
        staging.copy(theirs.buffer.slice(4L * at, 4L * count), buffer.slice(4L * to, 4L * count));
      } else {
        Storage.DeviceFloats.super.copy(from, at, to, count);
      }
    }
  }

  /** Outlives its tensors' storage by a moment, to say which memory that was. */
  private static final class Held extends PhantomReference<Floats> {
    final DeviceBuffer buffer;

    Held(Floats floats, ReferenceQueue<Floats> dropped) {
      super(floats, dropped);
      this.buffer = floats.buffer;
    }
  }

  /** Memory that holds anything; any thread may ask. */
  synchronized Floats allocate(int count) {
    queue.bind();
    free();
    DeviceBuffer buffer;
    try {
      buffer = memory.allocate(4L * count);
    } catch (OutOfDeviceMemoryException full) {
      // The collector does not see the device's memory and so had no reason to look.
      System.gc();
      awaitDropped();
      free();
      buffer = memory.allocate(4L * count);
    }
    Floats floats = new Floats(new DeviceBuffer(buffer.address(), 4L * count), staging);
    held.add(new Held(floats, dropped));
    return floats;
  }

  private void awaitDropped() {
    try {
      if (dropped.remove(COLLECTOR_PATIENCE_MS) instanceof Held first) {
        free(first);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void free() {
    while (dropped.poll() instanceof Held some) {
      free(some);
    }
  }

  private void free(Held some) {
    held.remove(some);
    queue.synchronize(); // queued work may still use it
    memory.free(some.buffer);
  }

  /** Where a tensor's numbers are. */
  static DeviceBuffer of(Tensor x) {
    if (x.storage() instanceof Floats floats) {
      return floats.buffer.slice(4L * x.offset(), 4L * x.size());
    }
    throw new IllegalArgumentException(
        x + " is not on the device; make tensors with the backend and fill them with assign");
  }
}
