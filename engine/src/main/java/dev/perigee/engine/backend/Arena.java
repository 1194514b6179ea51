package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Storage;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.IdentityHashMap;
import java.util.Iterator;
import java.util.List;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.function.IntFunction;

/**
 * Memory for activations, taken and given back in regions, so that a training step allocates
 * nothing once it is warm. A {@link Scope} is a region that ends where it began, in the manner of a
 * stack; a {@link Region} of its own lives until it is released, whatever else has come and gone.
 *
 * <p>One rank's thread takes memory and opens scopes; a thread that exchanges rows for it may take
 * from a region too.
 *
 * <p>{@link #take} hands out memory that keeps whatever it held: an operation that writes into it
 * must write all of it.
 */
public final class Arena {
  private static final int SMALLEST = 256;
  static final int LARGEST = Integer.MAX_VALUE - 8; // an array's length

  /** Memory of one kind that nobody uses, by its size, and where more comes from. */
  private static final class Pool {
    private final IntFunction<Storage> allocate;
    private final NavigableMap<Integer, Deque<Storage>> free = new TreeMap<>();

    Pool(IntFunction<Storage> allocate) {
      this.allocate = allocate;
    }
  }

  private final Pool activations;
  private final Pool floats;
  private final Deque<Region> entered = new ArrayDeque<>();
  private long currentBytes;
  private long peakBytes;
  private long reservedBytes;

  /** A number for each piece of memory, which no two share. */
  private final IdentityHashMap<Storage, Long> numbers = new IdentityHashMap<>();

  private long inUse;

  /** An arena whose memory comes from {@code allocate}, which is given a number of elements. */
  public Arena(IntFunction<Storage> allocate) {
    activations = new Pool(allocate);
    floats = activations;
    entered.push(new Region());
  }

  /**
   * An arena of two kinds of memory.
   *
   * @param activations allocates what {@link #take} hands out: a backend may round activations
   * @param floats allocates what {@link #takeFloats} hands out, of another width than the others:
   *     float32
   */
  public Arena(IntFunction<Storage> activations, IntFunction<Storage> floats) {
    this.activations = new Pool(activations);
    this.floats = new Pool(floats);
    entered.push(new Region());
  }

  /** Memory that is given back as a whole. */
  public final class Region {
    private final List<Storage> taken = new ArrayList<>();

    /** What is saved for a backward pass, and the same by the memory that it is in. */
    private final List<Saved> saved = new ArrayList<>();

    private final IdentityHashMap<Storage, Saved> savedIn = new IdentityHashMap<>();

    private Region() {}

    /** A tensor until this region is released. Its numbers are undefined. */
    public Tensor take(int... shape) {
      return takeInto(this, activations, shape);
    }

    /** The same for numbers that a backend must not round. */
    public Tensor takeFloats(int... shape) {
      return takeInto(this, floats, shape);
    }

    /** Makes this the region that {@link Arena#take} takes from until the scope closes. */
    public Scope enter() {
      return new Scope(this, false);
    }

    /** Gives everything back; what was taken must not be used any more. */
    public void release() {
      giveBack(this);
    }

    /**
     * Gives back one tensor before everything else.
     *
     * @param x what {@link #take} made, or a view of all of it
     * @throws IllegalArgumentException when it is not this region's
     */
    public void release(Tensor x) {
      giveBack(this, x.storage());
    }

    /**
     * Says that a backward pass needs a tensor of this region. The same memory is saved once,
     * however often this is said.
     */
    public Saved save(Tensor x) {
      return savedIn.computeIfAbsent(
          x.storage(),
          _ -> {
            saved.add(new Saved(this, x));
            return saved.getLast();
          });
    }

    boolean holds(Tensor x) {
      return isIn(this, x.storage());
    }

    /** Gives back what was made again here, which can be made once more. */
    public void dropAgain() {
      saved.forEach(Saved::dropAgain);
    }

    /** Moves all that is saved here to the host. */
    public void offload(HostStore to) {
      saved.forEach(s -> s.offload(to));
    }

    /** Brings all of it back. */
    public void load() {
      saved.forEach(Saved::load);
    }
  }

  /** A stretch of a program in which memory comes from one region. */
  public final class Scope implements AutoCloseable {
    private final Region region;
    private final boolean own;

    private Scope(Region region, boolean own) {
      this.region = region;
      this.own = own;
      entered.push(region);
    }

    /** Ends the stretch; gives back what was taken in it if {@link Arena#open} began it. */
    @Override
    public void close() {
      entered.pop();
      if (own) {
        region.release();
      }
    }
  }

  /** A new region, which lives until it is released. */
  public Region region() {
    return new Region();
  }

  /** The region that {@link #take} takes from now. */
  public Region innermost() {
    return entered.element();
  }

  /** Opens a scope with memory of its own; scopes close in the reverse order. */
  public Scope open() {
    return new Scope(new Region(), true);
  }

  /** A tensor until the innermost region is released. Its numbers are undefined. */
  public Tensor take(int... shape) {
    return entered.element().take(shape);
  }

  /** The same for numbers that a backend must not round: statistics, scores, packed ones. */
  public Tensor takeFloats(int... shape) {
    return entered.element().takeFloats(shape);
  }

  /** In an int, for an {@link ArithmeticException} of a step means that the model has diverged. */
  private static int numbers(int... shape) {
    double n = 1;
    for (int d : shape) {
      n *= d;
    }
    if (n > LARGEST) {
      throw new IllegalArgumentException(
          "a tensor of shape %s has %.0f numbers and can have %d; %s"
              .formatted(Arrays.toString(shape), n, LARGEST, AttentionShape.SMALLER));
    }
    return (int) n;
  }

  private synchronized Tensor takeInto(Region region, Pool pool, int... shape) {
    int size = sizeClass(numbers(shape));
    Deque<Storage> reusable = pool.free.get(size);
    Storage storage;
    if (reusable == null || reusable.isEmpty()) {
      storage = pool.allocate.apply(size);
      reservedBytes += bytes(storage);
      numbers.put(storage, scattered(numbers.size() + 1L));
    } else {
      storage = reused(reusable);
    }
    region.taken.add(storage);
    inUse += numbers.get(storage);
    currentBytes += bytes(storage);
    peakBytes = Math.max(peakBytes, currentBytes);
    return new Tensor(storage, 0, shape);
  }

  /** The last that was given back and is not still being copied, else the one that was first. */
  private static Storage reused(Deque<Storage> reusable) {
    for (Iterator<Storage> it = reusable.iterator(); it.hasNext(); ) {
      Storage storage = it.next();
      if (!(storage instanceof Storage.DeviceFloats device && device.isBusy())) {
        it.remove();
        return storage;
      }
    }
    Storage busy = reusable.removeLast();
    ((Storage.DeviceFloats) busy).useAnew();
    return busy;
  }

  private synchronized void giveBack(Region region) {
    region.saved.clear();
    region.savedIn.clear();
    while (!region.taken.isEmpty()) {
      Storage storage = region.taken.removeLast();
      idle(storage);
    }
  }

  private void idle(Storage storage) {
    inUse -= numbers.get(storage);
    currentBytes -= bytes(storage);
    Pool pool = storage.width() == Float.BYTES ? floats : activations;
    pool.free.computeIfAbsent(storage.length(), size -> new ArrayDeque<>()).push(storage);
  }

  private static long bytes(Storage storage) {
    return (long) storage.width() * storage.length();
  }

  @SuppressWarnings("ReferenceEquality") // which memory it is, not what it holds
  private synchronized boolean isIn(Region region, Storage storage) {
    return region.taken.stream().anyMatch(s -> s == storage);
  }

  @SuppressWarnings("ReferenceEquality") // likewise
  private synchronized void giveBack(Region region, Storage storage) {
    // Mostly one of the last: a search from the end is short.
    for (int i = region.taken.size() - 1; i >= 0; i--) {
      if (region.taken.get(i) == storage) {
        region.taken.remove(i);
        region.savedIn.remove(storage);
        idle(storage);
        return;
      }
    }
    throw new IllegalArgumentException("memory that this region does not have");
  }

  /**
   * Stands for the set of memory that is handed out now: equal for equal sets, and else different
   * but for one chance in 2⁶⁴. Work that begins with the same set in use may use the same memory as
   * before.
   */
  public synchronized long inUse() {
    return inUse;
  }

  /** Spreads numbers over all of 64 bits (the finalizer of SplitMix64). */
  private static long scattered(long n) {
    long x = n * 0x9e3779b97f4a7c15L;
    x = (x ^ x >>> 30) * 0xbf58476d1ce4e5b9L;
    x = (x ^ x >>> 27) * 0x94d049bb133111ebL;
    return x ^ x >>> 31;
  }

  /** Bytes handed out now. */
  public synchronized long currentBytes() {
    return currentBytes;
  }

  /** The most bytes that were handed out at one time. */
  public synchronized long peakBytes() {
    return peakBytes;
  }

  /** Bytes allocated so far, in use or free. */
  public synchronized long reservedBytes() {
    return reservedBytes;
  }

  /**
   * The next size of a series that grows by an eighth to a quarter a step: routing changes the
   * number of an expert's tokens from step to step, and near sizes must share memory.
   */
  private static int sizeClass(int n) {
    if (n <= SMALLEST) {
      return SMALLEST;
    }
    int eighth = Integer.highestOneBit(n - 1) / 4;
    long rounded = ((long) n + eighth - 1) / eighth * eighth;
    return (int) Math.min(rounded, LARGEST);
  }
}
