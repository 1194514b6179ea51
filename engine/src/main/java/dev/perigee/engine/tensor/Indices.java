package dev.perigee.engine.tensor;

/**
 * Whole numbers of 32 bits that say which rows an operation takes: on the host, or where a backend
 * has computed them, so that nobody waits for them.
 */
public interface Indices {
  /** How many. */
  int size();

  /** The numbers on the host, not to be changed; waits for a device that still computes them. */
  int[] onHost();

  /** Numbers on the host, which are shared. */
  static Indices of(int... values) {
    return new OnHost(values);
  }

  /** Numbers on the host. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  record OnHost(int[] values) implements Indices {
    @Override
    public int size() {
      return values.length;
    }

    @Override
    public int[] onHost() {
      return values;
    }
  }
}
