package dev.perigee.images;

/** An image cannot be built; the message says what to do. */
final class ImageException extends Exception {
  private static final long serialVersionUID = 1;

  ImageException(String message) {
    super(message);
  }

  ImageException(String message, Throwable cause) {
    super(message, cause);
  }
}
