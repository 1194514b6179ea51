package dev.perigee.engine.cuda;

/** The device has no memory left for what was asked; the message says how much that was. */
public final class OutOfDeviceMemoryException extends CudaException {
  private static final long serialVersionUID = 1L;

  OutOfDeviceMemoryException(String message) {
    super(message);
  }
}
