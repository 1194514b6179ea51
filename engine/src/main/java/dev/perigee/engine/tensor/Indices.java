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

  /**
   * Begins to bring them to the host, for a thread that asks {@link #onHost} later and then waits
   * for them alone, not for what a device was asked to do after this.
   */
  default void fetch() {}

  /** Indices that stay where they are while the host puts other numbers into them. */
  interface Slot extends Indices {
    /**
     * Replaces all of them, for the operations that are asked for from now on.
     *
     * @throws IllegalArgumentException when there are not {@link #size} of them
     */
    void set(int... values);

    /** A slot of zeros on the host. */
    static Slot onHost(int size) {
      int[] values = new int[size];
      return new Slot() {
        @Override
        public int size() {
          return size;
        }

        @Override
        public int[] onHost() {
          return values;
        }

        @Override
        public void set(int... from) {
          check(size, from);
          System.arraycopy(from, 0, values, 0, size);
        }
      };
    }

    /** Throws unless there are {@code size} values. */
    static void check(int size, int... values) {
      if (values.length != size) {
        throw new IllegalArgumentException(values.length + " indices for a slot of " + size);
      }
    }
  }

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
