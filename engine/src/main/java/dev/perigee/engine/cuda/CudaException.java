package dev.perigee.engine.cuda;

/** A call of the CUDA driver failed; the message names the call, what it was for and the sizes. */
public sealed class CudaException extends RuntimeException permits OutOfDeviceMemoryException {
  private static final long serialVersionUID = 1L;

  CudaException(String message) {
    super(message);
  }
}
