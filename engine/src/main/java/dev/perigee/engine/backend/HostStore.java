package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Tensor;

/**
 * Memory of the host beside a device's, where activations wait that are not needed for a while. A
 * store belongs to one rank's thread.
 */
public interface HostStore {
  /** A store of plain arrays, for tensors of any backend. */
  static HostStore ofArrays() {
    return new ArrayStore();
  }

  /** What was taken in. */
  interface Copy {}

  /**
   * Takes in the numbers of {@code x}, whose own memory may be given back to its arena at once: the
   * arena hands it out again only after they have been taken.
   */
  Copy put(Tensor x);

  /** Begins to bring them back into {@code x}, of the same size, and forgets them. */
  void bringBack(Copy copy, Tensor x);

  /** What is asked for from now on finds the numbers where they have been brought back to. */
  default void await(Copy copy) {}

  /** Bytes that it holds now. */
  long currentBytes();

  /** The most bytes that it held at one time. */
  long peakBytes();
}
