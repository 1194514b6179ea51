package dev.perigee.engine.cuda.driver;

/** The device has no memory left for what was asked; the message says how much that was. */
public final class OutOfDeviceMemoryException extends CudaException {
  private static final long serialVersionUID = 1L;

  /** With a message that says how much was asked for. */
  public OutOfDeviceMemoryException(String message) {
    super(message);
  }
}
