package dev.perigee.engine.cuda.driver;

import java.nio.ByteBuffer;

/** Where a device's memory comes from: a {@link DeviceArena}, or in tests a fake. */
public interface DeviceMemory {
  /**
   * Device memory, aligned to 256 bytes and not cleared.
   *
   * @throws CudaException when there is not enough
   */
  DeviceBuffer allocate(long bytes);

  /** Frees one buffer before its time. Work that uses it must have ended. */
  void free(DeviceBuffer buffer);

  /** Pinned host memory in native byte order: asynchronous copies need it. */
  ByteBuffer pinned(long bytes);

  /** 32-bit integers in new memory, for work that is put into {@code queue} from now on. */
  default DeviceBuffer ints(Queue queue, int... numbers) {
    long bytes = (long) Integer.BYTES * numbers.length;
    ByteBuffer host = pinned(bytes);
    for (int n : numbers) {
      host.putInt(n);
    }
    DeviceBuffer there = allocate(bytes);
    queue.upload(host.flip(), there);
    return there;
  }
}
