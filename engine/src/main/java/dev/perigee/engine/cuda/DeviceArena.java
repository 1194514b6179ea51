package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.Device.check;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Deque;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.JCudaDriver;

/** Device memory and pinned host memory that live until the arena is closed. */
public final class DeviceArena implements AutoCloseable {
  private final Deque<Runnable> frees = new ArrayDeque<>();

  /** Gives access to the address that JCuda keeps to itself. */
  private static final class Allocation extends CUdeviceptr {
    long address() {
      return getNativePointer();
    }
  }

  DeviceArena() {}

  /**
   * Device memory, aligned to 256 bytes and not cleared.
   *
   * @throws CudaException when there is not enough
   */
  public DeviceBuffer allocate(long bytes) {
    Allocation a = new Allocation();
    check(JCudaDriver.cuMemAlloc(a, Math.max(1, bytes)), "cuMemAlloc", bytes + " bytes");
    frees.push(() -> check(JCudaDriver.cuMemFree(a), "cuMemFree", bytes + " bytes"));
    return new DeviceBuffer(a.address(), bytes);
  }

  /** Pinned host memory in native byte order: asynchronous copies need it. */
  public ByteBuffer pinned(long bytes) {
    Pointer p = new Pointer();
    check(JCudaDriver.cuMemAllocHost(p, Math.max(1, bytes)), "cuMemAllocHost", bytes + " bytes");
    frees.push(() -> check(JCudaDriver.cuMemFreeHost(p), "cuMemFreeHost", bytes + " bytes"));
    return p.getByteBuffer(0, bytes).order(ByteOrder.nativeOrder());
  }

  /** Frees everything, the newest first. Work that uses it must have ended. */
  @Override
  public void close() {
    while (!frees.isEmpty()) {
      frees.pop().run();
    }
  }
}
