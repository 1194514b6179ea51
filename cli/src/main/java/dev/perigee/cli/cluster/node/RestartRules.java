package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.IntNode;
import dev.perigee.cli.cluster.api.Json;
import java.util.stream.StreamSupport;

/** {@code restartPolicyRules} of a container: exit codes after which it is started again. */
final class RestartRules {
  private RestartRules() {}

  /** Whether a rule has the container started again after that exit code. */
  static boolean apply(JsonNode container, int exitCode) {
    return StreamSupport.stream(container.path("restartPolicyRules").spliterator(), false)
        .filter(rule -> Json.text(rule, "action").equals("Restart"))
        .map(rule -> rule.path("exitCodes"))
        .anyMatch(
            codes -> {
              boolean named =
                  StreamSupport.stream(codes.path("values").spliterator(), false)
                      .anyMatch(IntNode.valueOf(exitCode)::equals);
              return Json.text(codes, "operator").equals("In") ? named : !named;
            });
  }
}
