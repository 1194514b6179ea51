package dev.perigee.engine.cuda.driver;

import jcuda.driver.CUdeviceptr;

/**
 * A range of device memory; a view, without ownership.
 *
 * @param address on the device
 * @param bytes its length
 */
public record DeviceBuffer(long address, long bytes) {
  /** The part of {@code length} bytes from {@code offset}. */
  public DeviceBuffer slice(long offset, long length) {
    if (offset < 0 || length < 0 || offset + length > bytes) {
      throw new IllegalArgumentException(
          "bytes " + offset + " to " + (offset + length) + " of a device buffer of " + bytes);
    }
    return new DeviceBuffer(address + offset, length);
  }

  CUdeviceptr pointer() {
    return new CUdeviceptr().withByteOffset(address);
  }
}
