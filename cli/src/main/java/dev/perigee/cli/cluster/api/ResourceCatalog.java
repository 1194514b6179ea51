package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;

/** The kinds that are served now: the built-in ones and those that CRDs define. */
public final class ResourceCatalog {
  private final Map<String, ResourceType> types = new ConcurrentSkipListMap<>();

  /** A catalog of the built-in kinds. */
  public ResourceCatalog() {
    BuiltinKinds.all().forEach(this::put);
  }

  private void put(ResourceType type) {
    types.put(type.apiVersion() + "/" + type.plural(), type);
  }

  /** Every kind. */
  public Collection<ResourceType> all() {
    return List.copyOf(types.values());
  }

  /** The kind that a path names. */
  public Optional<ResourceType> find(String apiVersion, String plural) {
    return Optional.ofNullable(types.get(apiVersion + "/" + plural));
  }

  /** The kind that an object names. */
  public Optional<ResourceType> ofKind(String apiVersion, String kind) {
    return types.values().stream()
        .filter(t -> t.apiVersion().equals(apiVersion) && t.kind().equals(kind))
        .findFirst();
  }

  /** A kind by what it is stored under; any version of it. */
  public Optional<ResourceType> ofStorageName(String storageName) {
    return types.values().stream().filter(t -> t.storageName().equals(storageName)).findFirst();
  }

  /**
   * A core kind.
   *
   * @param plural one of the built-in ones
   */
  public ResourceType core(String plural) {
    return find("v1", plural).orElseThrow();
  }

  /** Serves what a CRD defines, in place of what it defined before. */
  public void define(JsonNode crd) {
    undefine(crd);
    typesOf(crd).forEach(this::put);
  }

  /** Stops serving what a CRD defines. */
  public void undefine(JsonNode crd) {
    String storage =
        Json.text(crd, "spec", "names", "plural") + "." + Json.text(crd, "spec", "group");
    types.values().removeIf(t -> t.custom() && t.storageName().equals(storage));
  }

  /** The kinds, one for each served version, that a CRD defines. */
  static List<ResourceType> typesOf(JsonNode crd) {
    List<ResourceType> defined = new ArrayList<>();
    JsonNode spec = crd.path("spec");
    JsonNode names = spec.path("names");
    for (JsonNode version : spec.path("versions")) {
      if (!version.path("served").asBoolean(false)) {
        continue;
      }
      String kind = names.path("kind").asText();
      boolean status = version.path("subresources").has("status");
      JsonNode openApi = version.path("schema").path("openAPIV3Schema");
      defined.add(
          new ResourceType(
              spec.path("group").asText(),
              version.path("name").asText(),
              kind,
              names.path("plural").asText(),
              names.path("singular").asText(kind.toLowerCase(Locale.ROOT)),
              strings(names.path("shortNames")),
              strings(names.path("categories")),
              spec.path("scope").asText().equals("Namespaced"),
              status ? Set.of("status") : Set.of(),
              columns(version.path("additionalPrinterColumns")),
              true,
              BuiltinKinds.lazily(() -> withObjectFields(openApi))));
    }
    return defined;
  }

  private static Schema withObjectFields(JsonNode openApi) {
    if (!openApi.isObject()) {
      return Schema.ANYTHING;
    }
    ObjectNode schema = openApi.deepCopy();
    ObjectNode properties = Json.child(schema, "properties");
    properties.set("apiVersion", Json.object().put("type", "string"));
    properties.set("kind", Json.object().put("type", "string"));
    properties.set("metadata", BuiltinKinds.METADATA.get().node());
    return new Schema(schema);
  }

  private static List<ResourceType.PrinterColumn> columns(JsonNode declared) {
    List<ResourceType.PrinterColumn> columns = new ArrayList<>();
    for (JsonNode c : declared) {
      columns.add(
          new ResourceType.PrinterColumn(
              c.path("name").asText(),
              c.path("type").asText("string"),
              c.path("format").asText(""),
              c.path("description").asText(""),
              c.path("priority").asInt(0),
              c.path("jsonPath").asText()));
    }
    return columns;
  }

  private static List<String> strings(JsonNode array) {
    List<String> found = new ArrayList<>();
    array.forEach(s -> found.add(s.asText()));
    return found;
  }
}
