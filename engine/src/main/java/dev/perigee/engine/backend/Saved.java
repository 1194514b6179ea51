package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Tensor;
import java.util.function.Supplier;

/**
 * A tensor that a forward pass leaves for the backward pass, wherever it is meanwhile: in the
 * arena, in the host's memory, packed, or nowhere, to be computed again. Whoever needs it asks
 * {@link #get}. Belongs to one rank's thread.
 */
public final class Saved {
  private final Arena.Region region;
  private final int[] shape;
  private final boolean exact;
  private Tensor tensor; // null while it is elsewhere
  private Supplier<Tensor> again; // null unless it can be made from something else
  private HostStore store;
  private HostStore.Copy copy; // null unless the store has it

  Saved(Arena.Region region, Tensor tensor) {
    this.region = region;
    this.shape = tensor.shape();
    this.exact = tensor.storage().width() == Float.BYTES;
    this.tensor = tensor;
  }

  /** The tensor; when it is elsewhere, it is brought back or made again first. */
  public Tensor get() {
    if (copy != null) {
      load();
    } else if (tensor == null) {
      tensor = again.get();
    }
    return tensor;
  }

  /** The size of dimension {@code i}, wherever the tensor is. */
  public int dim(int i) {
    return shape[i];
  }

  /**
   * Gives the memory back now; the next {@link #get} makes the tensor again.
   *
   * @param how takes memory from the arena and fills it with bitwise the same numbers, or with what
   *     is left of them
   */
  public void drop(Supplier<Tensor> how) {
    again = how;
    region.release(tensor);
    tensor = null;
  }

  /** Drops again what can be made once more, if it lies in this region. */
  void dropAgain() {
    if (tensor != null && again != null && region.holds(tensor)) {
      region.release(tensor);
      tensor = null;
    }
  }

  /** Moves the numbers to the host, unless they are elsewhere already. */
  void offload(HostStore to) {
    if (tensor != null && again == null && region.holds(tensor)) {
      store = to;
      copy = to.put(tensor);
      region.release(tensor);
      tensor = null;
    }
  }

  /** Brings them back if they are on the host. */
  void load() {
    if (copy != null) {
      tensor = exact ? region.takeFloats(shape) : region.take(shape);
      store.bringBack(copy, tensor);
      copy = null;
    }
  }
}
