package dev.perigee.engine.cuda.driver;

import static dev.perigee.engine.cuda.driver.Device.check;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.LinkedHashMap;
import java.util.SequencedMap;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.JCudaDriver;

/** Device memory and pinned host memory that live until the arena is closed. */
public final class DeviceArena implements DeviceMemory, AutoCloseable {
  /** What gives each address back, the oldest first. */
  private final SequencedMap<Long, Runnable> frees = new LinkedHashMap<>();

  /** Gives access to the address that JCuda keeps to itself. */
  private static final class Allocation extends CUdeviceptr {
    long address() {
      return getNativePointer();
    }
  }

  /** Likewise for pinned memory, whose addresses are none of the device's. */
  private static final class HostAllocation extends Pointer {
    long address() {
      return getNativePointer();
    }
  }

  DeviceArena() {}

  @Override
  public DeviceBuffer allocate(long bytes) {
    Allocation a = new Allocation();
    check(JCudaDriver.cuMemAlloc(a, Math.max(1, bytes)), "cuMemAlloc", bytes + " bytes");
    frees.put(a.address(), () -> check(JCudaDriver.cuMemFree(a), "cuMemFree", bytes + " bytes"));
    return new DeviceBuffer(a.address(), bytes);
  }

  @Override
  public void free(DeviceBuffer buffer) {
    Runnable free = frees.remove(buffer.address());
    if (free == null) {
      throw new IllegalArgumentException("this arena has not allocated " + buffer);
    }
    free.run();
  }

  @Override
  public ByteBuffer pinned(long bytes) {
    HostAllocation p = new HostAllocation();
    check(JCudaDriver.cuMemAllocHost(p, Math.max(1, bytes)), "cuMemAllocHost", bytes + " bytes");
    frees.put(
        p.address(), () -> check(JCudaDriver.cuMemFreeHost(p), "cuMemFreeHost", bytes + " bytes"));
    return p.getByteBuffer(0, bytes).order(ByteOrder.nativeOrder());
  }

  /** Frees everything, the newest first. Work that uses it must have ended. */
  @Override
  public void close() {
    while (!frees.isEmpty()) {
      frees.pollLastEntry().getValue().run();
    }
  }
}
