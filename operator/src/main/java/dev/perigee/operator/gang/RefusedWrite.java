package dev.perigee.operator.gang;

import io.fabric8.kubernetes.client.KubernetesClientException;
import java.net.HttpURLConnection;

/** A write that the API server did not take; its message is for the job's status. */
final class RefusedWrite extends KubernetesClientException {
  private static final long serialVersionUID = 1;

  /**
   * Of a write that was tried.
   *
   * @param wanted verb and object
   * @param refusal what the API server said, or why it could not be asked
   */
  RefusedWrite(String wanted, KubernetesClientException refusal) {
    super(wanted + ": " + words(refusal), refusal.getCode(), refusal.getStatus());
    addSuppressed(refusal); // the superclass takes a cause only with the request, which it hides
  }

  /** Of an object whose name another has; the message says all. */
  RefusedWrite(String message) {
    super(message, HttpURLConnection.HTTP_CONFLICT, null);
  }

  private static String words(KubernetesClientException refusal) {
    return refusal.getStatus() == null || refusal.getStatus().getMessage() == null
        ? refusal.getMessage()
        : refusal.getStatus().getMessage();
  }
}
