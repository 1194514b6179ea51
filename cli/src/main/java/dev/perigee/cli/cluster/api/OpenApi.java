package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * OpenAPI v3, one document for each group and version: what {@code kubectl explain} prints, and how
 * kubectl learns that the server checks unknown fields itself.
 */
final class OpenApi {
  private final ResourceCatalog catalog;

  OpenApi(ResourceCatalog catalog) {
    this.catalog = catalog;
  }

  /** {@code /openapi/v3}: where the documents are. A hash in the address changes with them. */
  ObjectNode index() {
    ObjectNode index = Json.object();
    ObjectNode paths = index.putObject("paths");
    catalog.all().stream()
        .map(OpenApi::prefix)
        .distinct()
        .forEach(
            prefix -> {
              int hash = Arrays.hashCode(Json.bytes(document(prefix)));
              paths
                  .putObject(prefix)
                  .put(
                      "serverRelativeURL",
                      "/openapi/v3/" + prefix + "?hash=" + Integer.toHexString(hash));
            });
    return index;
  }

  /**
   * The document of one group and version, null when there is none.
   *
   * @param prefix for example {@code apis/perigee.dev/v1alpha1} or {@code api/v1}
   */
  ObjectNode document(String prefix) {
    List<ResourceType> types =
        catalog.all().stream().filter(t -> prefix(t).equals(prefix)).toList();
    if (types.isEmpty()) {
      return null;
    }
    ObjectNode document = Json.object().put("openapi", "3.0.0");
    document.putObject("info").put("title", "Kubernetes").put("version", "v1.33.0+perigee");
    ObjectNode paths = document.putObject("paths");
    ObjectNode schemas = document.putObject("components").putObject("schemas");
    for (ResourceType type : types) {
      String name = schemaName(type);
      ObjectNode schema = type.schema().node().deepCopy();
      schema.putArray("x-kubernetes-group-version-kind").add(gvk(type));
      schemas.set(name, schema);
      String scope = type.namespaced() ? "/namespaces/{namespace}/" : "/";
      paths.set("/" + prefix + scope + type.plural() + "/{name}", path(type, name));
    }
    return document;
  }

  private static ObjectNode path(ResourceType type, String schemaName) {
    ObjectNode path = Json.object();
    ObjectNode get = path.putObject("get").put("x-kubernetes-action", "get");
    get.set("x-kubernetes-group-version-kind", gvk(type));
    get.set("responses", answer(schemaName));
    ObjectNode patch = path.putObject("patch").put("x-kubernetes-action", "patch");
    patch.set("x-kubernetes-group-version-kind", gvk(type));
    ArrayNode parameters = patch.putArray("parameters");
    for (String name : List.of("dryRun", "fieldManager", "fieldValidation", "force")) {
      parameters
          .addObject()
          .put("name", name)
          .put("in", "query")
          .putObject("schema")
          .put("type", name.equals("force") ? "boolean" : "string");
    }
    ObjectNode content = patch.putObject("requestBody").putObject("content");
    content.putObject("application/json-patch+json");
    content.putObject("application/merge-patch+json");
    content.putObject("application/apply-patch+yaml");
    patch.set("responses", answer(schemaName));
    return path;
  }

  private static ObjectNode answer(String schemaName) {
    ObjectNode responses = Json.object();
    responses
        .putObject("200")
        .put("description", "OK")
        .putObject("content")
        .putObject("application/json")
        .putObject("schema")
        .put("$ref", "#/components/schemas/" + schemaName);
    return responses;
  }

  private static String prefix(ResourceType type) {
    return (type.group().isEmpty() ? "api/" : "apis/") + type.apiVersion();
  }

  /** For example {@code dev.perigee.v1alpha1.PretrainJob}. */
  private static String schemaName(ResourceType type) {
    String group = type.group().isEmpty() ? "core.api.k8s.io" : type.group();
    List<String> labels = Arrays.asList(group.toLowerCase(Locale.ROOT).split("\\.", -1)).reversed();
    return String.join(".", labels) + "." + type.version() + "." + type.kind();
  }

  private static ObjectNode gvk(ResourceType type) {
    return Json.object()
        .put("group", type.group())
        .put("kind", type.kind())
        .put("version", type.version());
  }
}
