package dev.perigee.engine.cuda;

import java.nio.ByteBuffer;

/** Takes a device's work in order: launches and copies. A {@link Stream}, or in tests a fake. */
public interface Queue extends Launcher {
  /** Makes the device current on the calling thread, which every other call here expects. */
  void bind();

  /** Copies to the device; {@code from} is pinned if the host is to go on meanwhile. */
  void upload(ByteBuffer from, DeviceBuffer to);

  /** Copies to the host; the numbers are there after {@link #synchronize}. */
  void download(DeviceBuffer from, ByteBuffer to);

  /** Copies on the device. */
  void copy(DeviceBuffer from, DeviceBuffer to);

  /** Sets every byte. */
  void fill(DeviceBuffer buffer, byte value);

  /** A point in a queue's order. Closing it frees what stands for it, and waits for nothing. */
  interface Mark extends AutoCloseable {
    /** Whether everything before it is done. */
    boolean isPast();

    @Override
    void close();
  }

  /** Marks this point. */
  Mark mark();

  /** Work that was captured, to be done again. */
  interface Recording extends AutoCloseable {
    @Override
    void close();
  }

  /**
   * Captures what {@code work} puts in, on the calling thread, instead of doing it.
   *
   * @throws RuntimeException what {@code work} throws; nothing is captured then
   */
  Recording capture(Runnable work);

  /** Does captured work again, with one call. */
  void replay(Recording recording);

  /** What is put in from now on runs after everything before {@code mark}, in whichever queue. */
  void after(Mark mark);

  /**
   * Waits for everything put in so far.
   *
   * @throws CudaException when any of it failed
   */
  void synchronize();
}
