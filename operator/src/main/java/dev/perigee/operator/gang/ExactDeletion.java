package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.DeleteOptionsBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.net.HttpURLConnection;
import java.util.function.UnaryOperator;

/** Deletes one object by its uid, so that a later one of the same name is never hit. */
public final class ExactDeletion {
  private ExactDeletion() {}

  /**
   * Deletes an object; that it is gone already, or that another has its name by now, is no error.
   *
   * @param path the object's address at the API server, for example {@code
   *     /api/v1/namespaces/n/pods/p}
   * @throws KubernetesClientException when the API server refuses
   */
  public static void delete(KubernetesClient client, String path, String uid) {
    delete(client, path, uid, options -> options);
  }

  /** The same, with more options, for example a grace. */
  public static void delete(
      KubernetesClient client, String path, String uid, UnaryOperator<DeleteOptionsBuilder> more) {
    DeleteOptionsBuilder options =
        new DeleteOptionsBuilder()
            .withApiVersion("v1")
            .withKind("DeleteOptions")
            .withNewPreconditions()
            .withUid(uid)
            .endPreconditions();
    try {
      client.raw(path, "DELETE", more.apply(options).build());
    } catch (KubernetesClientException e) {
      boolean gone = e.getCode() == HttpURLConnection.HTTP_NOT_FOUND;
      boolean another = e.getCode() == HttpURLConnection.HTTP_CONFLICT;
      if (!gone && !another) {
        throw e;
      }
    }
  }
}
