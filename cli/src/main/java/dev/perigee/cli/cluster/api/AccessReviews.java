package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;

/**
 * What {@code kubectl auth can-i} asks. Whoever reaches the embedded cluster's loopback address may
 * do everything, so the answer is the same whatever the question: yes, with this reason.
 */
final class AccessReviews {
  /** The group and version that is served. */
  static final String API_VERSION = "authorization.k8s.io/v1";

  private static final String REASON =
      "the embedded cluster has no access rules: whoever reaches it may do everything";

  private AccessReviews() {}

  /**
   * Answers a review.
   *
   * @param plural the last part of the path
   */
  static void serve(ApiRequest request, String plural) throws IOException {
    ObjectNode review = Json.object();
    ObjectNode status = Json.object();
    switch (plural) {
      case "selfsubjectaccessreviews" -> {
        review.put("kind", "SelfSubjectAccessReview");
        status.put("allowed", true).put("reason", REASON);
      }
      case "selfsubjectrulesreviews" -> {
        review.put("kind", "SelfSubjectRulesReview");
        ObjectNode objects = status.putArray("resourceRules").addObject();
        objects.putArray("verbs").add("*");
        objects.putArray("apiGroups").add("*");
        objects.putArray("resources").add("*");
        ObjectNode paths = status.putArray("nonResourceRules").addObject();
        paths.putArray("verbs").add("*");
        paths.putArray("nonResourceURLs").add("*");
        status.put("incomplete", false);
      }
      default -> throw ApiError.noSuchPath();
    }
    if (!request.method().equals("POST")) {
      throw ApiError.methodNotAllowed("a review can only be created");
    }
    review.put("apiVersion", API_VERSION).putObject("metadata");
    review.putObject("spec");
    review.set("status", status);
    request.send(201, review);
  }
}
