package dev.perigee.engine.cuda.driver;

/** A call of the CUDA driver failed; the message names the call, what it was for and the sizes. */
public sealed class CudaException extends RuntimeException permits OutOfDeviceMemoryException {
  private static final long serialVersionUID = 1L;

  /** With a message as described. */
  public CudaException(String message) {
    super(message);
  }
}
