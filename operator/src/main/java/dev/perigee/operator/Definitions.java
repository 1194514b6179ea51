package dev.perigee.operator;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.api.PretrainJob;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.utils.KubernetesSerialization;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.StreamSupport;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Whether the cluster's custom resource definition is as new as this operator. An API server
 * refuses a server-side apply in which one field is not declared, and with it the whole status: an
 * operator ahead of its definition would get no job on.
 */
final class Definitions {
  private static final Logger LOG = LoggerFactory.getLogger(Definitions.class);
  private static final String NAME = "pretrainjobs." + PretrainJob.GROUP;
  private static final String COMMAND = "kubectl apply --server-side -f crds/yaml";
  private static final String STATUS = "status";

  private Definitions() {}

  /**
   * Why the operator cannot work with what the cluster serves, empty when it can, or when the
   * cluster does not say. By discovery, which every account may do, unlike reading definitions.
   */
  static Optional<String> problem(KubernetesClient client) {
    if (!client.supports(PretrainJob.class)) {
      return Optional.of(
          "the cluster does not serve %s/%s PretrainJob; install the definitions: %s"
              .formatted(PretrainJob.GROUP, PretrainJob.VERSION, COMMAND));
    }
    List<String> undeclared =
        served(client).map(there -> undeclared(own(client), there)).orElse(List.of());
    return undeclared.isEmpty()
        ? Optional.empty()
        : Optional.of(
            "the cluster's definition %s is older than this operator: it does not know %s; update it: %s"
                .formatted(NAME, String.join(", ", undeclared), COMMAND));
  }

  /** The schema of a job as the API server publishes it. */
  private static Optional<JsonNode> served(KubernetesClient client) {
    try {
      String document =
          client.raw("/openapi/v3/apis/" + PretrainJob.GROUP + "/" + PretrainJob.VERSION);
      return document == null
          ? Optional.empty()
          : ofKind(
              client
                  .getKubernetesSerialization()
                  .unmarshal(document, JsonNode.class)
                  .at("/components/schemas"));
    } catch (KubernetesClientException e) {
      LOG.warn("whether {} is as new as this operator cannot be told", NAME, e);
      return Optional.empty();
    }
  }

  private static Optional<JsonNode> ofKind(JsonNode schemas) {
    return StreamSupport.stream(schemas.spliterator(), false)
        .filter(
            schema ->
                PretrainJob.KIND.equals(
                    schema.at("/x-kubernetes-group-version-kind/0/kind").asText()))
        .findFirst();
  }

  /** The schema that came with this operator. */
  private static JsonNode own(KubernetesClient client) {
    KubernetesSerialization yaml = client.getKubernetesSerialization();
    try (InputStream in =
        PretrainJob.class.getResourceAsStream("/META-INF/perigee/crds/" + NAME + ".yaml")) {
      return yaml.unmarshal(in, JsonNode.class).at("/spec/versions/0/schema/openAPIV3Schema");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Fields of the status, and values of them, that one schema declares and the other does not.
   *
   * @param own what is written
   * @param served what is declared
   */
  static List<String> undeclared(JsonNode own, JsonNode served) {
    List<String> found = new ArrayList<>();
    compare(
        STATUS, own.at("/properties").path(STATUS), served.at("/properties").path(STATUS), found);
    found.sort(Comparator.naturalOrder());
    return found;
  }

  private static void compare(String path, JsonNode own, JsonNode served, List<String> found) {
    if (served.isMissingNode()) {
      found.add(path);
      return;
    }
    Set<JsonNode> known = new HashSet<>();
    served.path("enum").forEach(known::add);
    own.path("enum")
        .forEach(
            value -> {
              if (!known.isEmpty() && !known.contains(value)) {
                found.add(path + ": " + value.asText());
              }
            });
    own.path("properties")
        .properties()
        .forEach(
            field ->
                compare(
                    path + "." + field.getKey(),
                    field.getValue(),
                    served.path("properties").path(field.getKey()),
                    found));
    if (own.has("items")) {
      compare(path + "[]", own.path("items"), served.path("items"), found);
    }
  }
}
