package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.cuda.driver.CudaException;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.DeviceMemory;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.Launcher;
import dev.perigee.engine.cuda.driver.OutOfDeviceMemoryException;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.cuda.kernels.KernelSources;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;

/**
 * Stands for a GPU: has memory, copies, and a record of launches, but runs none. It refuses what an
 * H100 or the compiled kernel would: a wrong kind of argument, a grid or block that is too large,
 * an address outside of every buffer.
 */
public final class FakeGpu implements Queue, DeviceMemory {
  private static final int MOST_SHARED = 232448;
  private static final long FIRST_ADDRESS = 1 << 16;

  private static final KernelSources SOURCES = sources();

  public final List<Launch> launches = new ArrayList<>();
  final List<Product.Sizes> products = new ArrayList<>();
  private final NavigableMap<Long, ByteBuffer> buffers = new ConcurrentSkipListMap<>();
  private final Map<String, Integer> uses = new HashMap<>();

  /** Whether what is before a mark is never done. */
  public volatile boolean copying;

  /** What a question for a mark throws; null for nothing. */
  public volatile String failing;

  /** How often work was told to wait for a mark. */
  public int waits;

  /** How often work was told to wait for all of another queue. */
  public int waitsForAll;

  /** How often recorded work was replayed. */
  int replays;

  /** Launches and products that were asked for one by one, and not to record them. */
  int asked;

  /** Whether a replay counts only. */
  boolean replaysNothing;

  private List<Runnable> recording; // null unless work is recorded

  private long next = FIRST_ADDRESS;
  private long capacity = Long.MAX_VALUE;

  private static KernelSources sources() {
    try {
      return new KernelSources();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A backend on it, with our own products or with ones that are only recorded. */
  public CudaBackend backend(Precision precision, boolean tiled) {
    return backend(90, precision, tiled);
  }

  /** The same on a chip of another compute capability. */
  CudaBackend backend(int computeCapability, Precision precision, boolean tiled) {
    return new CudaBackend(
        new CudaBackend.Chip(132, computeCapability),
        this,
        this,
        this,
        tiled ? new TiledProduct(this) : new Recorded(),
        precision,
        buffers::clear);
  }

  /** Products by a library: only their operands are checked. */
  private final class Recorded implements Product {
    @Override
    public void multiply(Sizes s, float alpha, Operand a, Operand b, float beta, Operand c) {
      if (recordedInstead(() -> products.add(s))) {
        return;
      }
      products.add(s);
      operand("a", a, s.transposeA() ? s.k() : s.m(), s.transposeA() ? s.m() : s.k(), s.count());
      operand("b", b, s.transposeB() ? s.n() : s.k(), s.transposeB() ? s.k() : s.n(), s.count());
      operand("c", c, s.m(), s.n(), s.count());
    }

    private void operand(String name, Operand x, int rows, int columns, int count) {
      assertThat(x.rowStride()).as("row stride of %s", name).isGreaterThanOrEqualTo(columns);
      long last = (count - 1) * x.stride() + (rows - 1L) * x.rowStride() + columns;
      assertThat(roomAt(x.address()))
          .as("bytes from the first element of %s on", name)
          .isGreaterThanOrEqualTo(last * (x.bf16() ? 2 : 4));
    }

    @Override
    public void close() {}
  }

  /** Lets no more than so many bytes be allocated. */
  void capacity(long bytes) {
    capacity = bytes;
  }

  /** Bytes that are allocated now. */
  public long allocated() {
    return buffers.values().stream().mapToLong(ByteBuffer::capacity).sum();
  }

  /** Kernels that were launched, {@code file/kernel}. */
  Set<String> kernels() {
    return new HashSet<>(uses.keySet());
  }

  /** Bytes from an address to the end of its buffer; negative outside of all. */
  private long roomAt(long address) {
    Map.Entry<Long, ByteBuffer> e = buffers.floorEntry(address);
    return e == null ? -1 : e.getKey() + e.getValue().capacity() - address;
  }

  /** The bytes of a buffer. */
  public ByteBuffer at(DeviceBuffer b) {
    assertThat(roomAt(b.address())).as("room for %s", b).isGreaterThanOrEqualTo(b.bytes());
    Map.Entry<Long, ByteBuffer> e = buffers.floorEntry(b.address());
    return e.getValue()
        .slice((int) (b.address() - e.getKey()), (int) b.bytes())
        .order(ByteOrder.nativeOrder());
  }

  @Override
  public void launch(Launch l) {
    List<Class<?>> kinds = SOURCES.arguments(l.module(), l.kernel());
    assertThat(kinds).as("%s in %s.cu", l.kernel(), l.module()).isNotNull();
    List<Class<?>> given = new ArrayList<>();
    for (Launch.Argument a : l.arguments()) {
      given.add(a.getClass());
      if (a instanceof Launch.Argument.Address address && address.value() != 0) {
        assertThat(roomAt(address.value())).as("an address of %s", l).isNotNegative();
      }
      if (a instanceof Launch.Argument.Map m) {
        DeviceBuffer reach = m.value().reach();
        assertThat(roomAt(reach.address()))
            .as("a map of %s", l)
            .isGreaterThanOrEqualTo(reach.bytes());
      }
    }
    assertThat(given).as("arguments of %s", l).isEqualTo(kinds);
    assertThat(l.block().x() * l.block().y() * l.block().z()).as("%s", l).isBetween(1, 1024);
    assertThat(l.grid().x()).as("%s", l).isPositive();
    assertThat(l.grid().y()).as("%s", l).isBetween(1, 65535);
    assertThat(l.grid().z()).as("%s", l).isBetween(1, 65535);
    assertThat(l.sharedBytes()).as("%s", l).isBetween(0, MOST_SHARED);
    if (!recordedInstead(() -> launches.add(l))) {
      uses.merge(l.module() + "/" + l.kernel(), 1, Integer::sum);
      launches.add(l);
    }
  }

  private boolean recordedInstead(Runnable work) {
    if (recording == null) {
      asked++;
      return false;
    }
    recording.add(work);
    return true;
  }

  /** What the driver refuses on a stream whose work is captured. */
  private void notRecorded(String call) {
    assertThat(recording).as("%s while work is captured", call).isNull();
  }

  private record Replayable(List<Runnable> work) implements Recording {
    @Override
    public void close() {}
  }

  @Override
  public Recording capture(Runnable work) {
    notRecorded("another capture");
    recording = new ArrayList<>();
    try {
      work.run();
      return new Replayable(List.copyOf(recording));
    } finally {
      recording = null;
    }
  }

  @Override
  public void replay(Recording recorded) {
    notRecorded("a graph's launch");
    replays++;
    if (!replaysNothing) {
      int before = asked;
      ((Replayable) recorded).work.forEach(Runnable::run);
      asked = before;
    }
  }

  @Override
  public void bind() {}

  @Override
  public void after(Launcher other) {
    waitsForAll++;
  }

  @Override
  public void upload(ByteBuffer from, DeviceBuffer to) {
    notRecorded("an upload");
    assertThat(from.isDirect()).as("only direct memory has an address").isTrue();
    assertThat(from.position()).as("native copies begin at the buffer's start").isZero();
    at(to).put(from.duplicate());
  }

  @Override
  public void download(DeviceBuffer from, ByteBuffer to) {
    notRecorded("a download");
    assertThat(to.isDirect()).as("only direct memory has an address").isTrue();
    assertThat(to.position()).as("native copies begin at the buffer's start").isZero();
    to.duplicate().put(at(from));
  }

  @Override
  public void copy(DeviceBuffer from, DeviceBuffer to) {
    if (!recordedInstead(() -> copy(from, to))) {
      at(to).put(at(from));
    }
  }

  @Override
  public void fill(DeviceBuffer buffer, byte value) {
    if (recordedInstead(() -> fill(buffer, value))) {
      return;
    }
    ByteBuffer b = at(buffer);
    while (b.hasRemaining()) {
      b.put(value);
    }
  }

  @Override
  public Mark mark() {
    return new Mark() {
      @Override
      public boolean isPast() {
        if (failing != null) {
          throw new CudaException(failing);
        }
        return !copying;
      }

      @Override
      public void close() {}
    };
  }

  @Override
  public void after(Mark mark) {
    waits++;
  }

  @Override
  public void synchronize() {
    notRecorded("a wait");
  }

  @Override
  public synchronized DeviceBuffer allocate(long bytes) {
    notRecorded("an allocation");
    if (allocated() + bytes > capacity) {
      throw new OutOfDeviceMemoryException("fake: " + bytes + " bytes");
    }
    long address = next;
    next += (bytes + 511) / 256 * 256; // a gap after each, so that neighbours never touch
    buffers.put(address, ByteBuffer.allocate(Math.toIntExact(bytes)));
    return new DeviceBuffer(address, bytes);
  }

  @Override
  public void free(DeviceBuffer buffer) {
    assertThat(buffers.remove(buffer.address())).as("%s was allocated", buffer).isNotNull();
  }

  @Override
  public ByteBuffer pinned(long bytes) {
    return ByteBuffer.allocateDirect(Math.toIntExact(bytes)).order(ByteOrder.nativeOrder());
  }
}
