package dev.perigee.engine.cuda;

import dev.perigee.engine.tensor.Storage;
import dev.perigee.engine.tensor.Tensor;
import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;

/**
 * Memory for tensors on the device, of float32 or bf16 numbers. What no tensor refers to any more
 * is freed when the next tensor is asked for; the garbage collector finds it, and is asked to when
 * the device is full.
 */
final class TensorMemory {
  private static final long COLLECTOR_PATIENCE_MS = 200;

  private final Queue queue;
  private final DeviceMemory memory;
  private final Staging staging;
  private final Set<Held> held = new HashSet<>();
  private final List<WeakReference<Numbers>> rounded = new ArrayList<>();
  private final ReferenceQueue<Numbers> dropped = new ReferenceQueue<>();

  TensorMemory(Queue queue, DeviceMemory memory, Staging staging) {
    this.queue = queue;
    this.memory = memory;
    this.staging = staging;
  }

  /** Numbers on the device. */
  static final class Numbers implements Storage.DeviceFloats {
    private final DeviceBuffer buffer;
    private final int width;
    private final Staging staging;

    /** How often the numbers have been changed, but by what keeps {@link #rounded} up to date. */
    private int changes;

    private DeviceBuffer rounded; // null unless products want these numbers in bf16
    private int roundedAt;
    private Queue.Mark busy; // null unless copies beside the queue use the numbers

    private Numbers(DeviceBuffer buffer, int width, Staging staging) {
      this.buffer = buffer;
      this.width = width;
      this.staging = staging;
    }

    @Override
    public int length() {
      return (int) (buffer.bytes() / width);
    }

    @Override
    public int width() {
      return width;
    }

    @Override
    public void read(int from, float[] to, int at, int count) {
      DeviceBuffer part = part(from, count);
      if (width == 2) {
        staging.readBf16(part, to, at, count);
      } else {
        staging.read(part, to, at, count);
      }
    }

    @Override
    public void write(float[] from, int at, int to, int count) {
      changed();
      DeviceBuffer part = part(to, count);
      if (width == 2) {
        staging.writeBf16(from, at, count, part);
      } else {
        staging.write(from, at, count, part);
      }
    }

    private DeviceBuffer part(int from, int count) {
      return buffer.slice((long) width * from, (long) width * count);
    }

    /** Says that an operation writes to them. */
    void changed() {
      changes++;
    }

    /** Whether a bf16 copy of the numbers is kept. */
    boolean isRounded() {
      return rounded != null;
    }

    /** All of the numbers, float32. */
    DeviceBuffer all() {
      return buffer;
    }

    /** The bf16 copy of all of them; the caller rounds when {@link #isStale}. */
    DeviceBuffer rounded() {
      return rounded;
    }

    /** Whether the copy is of earlier numbers. */
    boolean isStale() {
      return roundedAt != changes;
    }

    /** Whether the copy was ever up to date: nobody rounds what nobody asks for. */
    boolean isUsedRounded() {
      return roundedAt > 0;
    }

    /** Brings the copy up to date. */
    void refresh(Queue queue) {
      queue.launch(FloatKernels.toBf16(buffer, rounded));
      roundedAt = changes;
    }

    /** Says that work in another queue uses them until {@code mark}. */
    synchronized void busyUntil(Queue.Mark mark) {
      if (busy != null) {
        busy.close(); // the copies of a tensor are in one queue: the later mark stands for both
      }
      busy = mark;
    }

    @Override
    public synchronized boolean isBusy() {
      if (busy != null && busy.isPast()) {
        busy.close();
        busy = null;
      }
      return busy != null;
    }

    @Override
    public synchronized void useAnew() {
      if (busy != null) {
        staging.after(busy);
        busy.close();
        busy = null;
      }
    }

    @Override
    @SuppressWarnings("ReferenceEquality") // whether it is the same device
    public void copy(Storage.DeviceFloats from, int at, int to, int count) {
      if (from instanceof Numbers theirs && theirs.staging == staging && theirs.width == width) {
        changed();
        staging.copy(theirs.part(at, count), part(to, count));
      } else {
        Storage.DeviceFloats.super.copy(from, at, to, count);
      }
    }
  }

  /** Outlives its tensors' storage by a moment, to say which memory that was. */
  private static final class Held extends PhantomReference<Numbers> {
    final List<DeviceBuffer> buffers;

    Held(Numbers numbers, List<DeviceBuffer> buffers, ReferenceQueue<Numbers> dropped) {
      super(numbers, dropped);
      this.buffers = buffers;
    }
  }

  /** Memory for float32 numbers that holds anything; any thread may ask. */
  Numbers floats(int count) {
    return allocate(count, 4, false);
  }

  /** Memory for bf16 numbers that holds anything; any thread may ask. */
  Numbers bf16(int count) {
    return allocate(count, 2, false);
  }

  /** Memory for float32 numbers beside memory for the same in bf16; both hold anything. */
  Numbers floatsAndRounded(int count) {
    return allocate(count, 4, true);
  }

  private synchronized Numbers allocate(int count, int width, boolean alsoRounded) {
    staging.needsHost("new memory");
    queue.bind();
    free();
    Numbers numbers = new Numbers(buffer((long) width * count), width, staging);
    List<DeviceBuffer> buffers = new ArrayList<>(List.of(numbers.buffer));
    if (alsoRounded) {
      numbers.rounded = buffer(2L * count);
      numbers.changes++;
      buffers.add(numbers.rounded);
      rounded.add(new WeakReference<>(numbers));
    }
    held.add(new Held(numbers, buffers, dropped));
    return numbers;
  }

  /** Makes the rounded copies up to date that somebody has asked for before. */
  void refreshRounded() {
    for (Numbers numbers : withRounded()) {
      if (numbers.isUsedRounded() && numbers.isStale()) {
        numbers.refresh(queue);
      }
    }
  }

  /** Runs {@code work}; returns those with rounded copies that it changed and left stale. */
  List<Numbers> changedBy(Runnable work) {
    List<Numbers> all = withRounded();
    int[] before = all.stream().mapToInt(n -> n.changes).toArray();
    work.run();
    List<Numbers> changed = new ArrayList<>();
    for (int i = 0; i < before.length; i++) {
      if (all.get(i).changes != before[i]) {
        changed.add(all.get(i));
      }
    }
    return changed;
  }

  private synchronized List<Numbers> withRounded() {
    rounded.removeIf(r -> r.get() == null);
    return rounded.stream().map(WeakReference::get).filter(Objects::nonNull).toList();
  }

  private DeviceBuffer buffer(long bytes) {
    DeviceBuffer buffer;
    try {
      buffer = memory.allocate(bytes);
    } catch (OutOfDeviceMemoryException full) {
      // The collector does not see the device's memory and so had no reason to look.
      System.gc();
      awaitDropped();
      free();
      buffer = memory.allocate(bytes);
    }
    return new DeviceBuffer(buffer.address(), bytes);
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
    some.buffers.forEach(memory::free);
  }

  /** Where a tensor's numbers are, float32 or bf16: {@link Numbers#width} bytes each. */
  static DeviceBuffer of(Tensor x) {
    return numbers(x).part(x.offset(), x.size());
  }

  /** The same for a tensor that must be float32. */
  static DeviceBuffer floats(Tensor x) {
    if (x.storage().width() != Float.BYTES) {
      throw new IllegalArgumentException(
          x + " is rounded to bf16 on the device; this wants float32");
    }
    return of(x);
  }

  /** What a tensor is a view of. */
  static Numbers numbers(Tensor x) {
    if (x.storage() instanceof Numbers numbers) {
      return numbers;
    }
    throw new IllegalArgumentException(
        x + " is not on the device; make tensors with the backend and fill them with assign");
  }
}
