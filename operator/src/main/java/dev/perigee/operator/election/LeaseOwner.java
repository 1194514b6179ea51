package dev.perigee.operator.election;

import io.fabric8.kubernetes.api.model.OwnerReference;
import io.fabric8.kubernetes.api.model.OwnerReferenceBuilder;
import io.fabric8.kubernetes.api.model.authentication.SelfSubjectReview;
import io.fabric8.kubernetes.api.model.authentication.SelfSubjectReviewStatus;
import io.fabric8.kubernetes.api.model.authentication.UserInfo;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Whose the Lease is: the ServiceAccount's by which replicas write it. Whatever removes an
 * installation removes the account, and the garbage collector then the Lease. No replica that is
 * still ending can make it anew, because its account is gone. (A Lease that the chart made would
 * keep a chart from being installed where another is left, and Argo CD leaves Leases out.)
 */
final class LeaseOwner {
  private static final Logger LOG = LoggerFactory.getLogger(LeaseOwner.class);
  private static final String ACCOUNT = "system:serviceaccount:";

  private LeaseOwner() {}

  /**
   * Asks the API server who the client is, which every account may by default.
   *
   * @param namespace that of the Lease
   * @return empty when it is no account of that namespace, or may not ask
   */
  static Optional<OwnerReference> ask(KubernetesClient client, String namespace) {
    try {
      return Optional.ofNullable(client.resource(new SelfSubjectReview()).create().getStatus())
          .map(SelfSubjectReviewStatus::getUserInfo)
          .flatMap(user -> of(user, namespace));
    } catch (KubernetesClientException e) {
      if (e.getCode() == 0) {
        throw e; // not asked at all; with the next look
      }
      LOG.info("the Lease gets no owner, and so outlives the installation: {}", e.getMessage());
      return Optional.empty();
    }
  }

  /** The owner that a user comes to. */
  static Optional<OwnerReference> of(UserInfo user, String namespace) {
    String prefix = ACCOUNT + namespace + ":";
    return user.getUsername() == null
            || !user.getUsername().startsWith(prefix)
            || user.getUid() == null
            || user.getUid().isBlank()
        ? Optional.empty()
        : Optional.of(
            new OwnerReferenceBuilder()
                .withApiVersion("v1")
                .withKind("ServiceAccount")
                .withName(user.getUsername().substring(prefix.length()))
                .withUid(user.getUid())
                .build());
  }
}
