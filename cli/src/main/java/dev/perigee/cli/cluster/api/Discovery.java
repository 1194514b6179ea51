package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/** What a client reads first: the groups, versions and kinds, singly and in one document. */
final class Discovery {
  /** The media type of the aggregated form. */
  static final String AGGREGATED =
      "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

  private static final List<String> VERBS =
      List.of("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch");

  private final ResourceCatalog catalog;

  Discovery(ResourceCatalog catalog) {
    this.catalog = catalog;
  }

  /** {@code /version}. */
  static ObjectNode version() {
    return Json.object()
        .put("major", "1")
        .put("minor", "33")
        .put("gitVersion", "v1.33.0+perigee")
        .put("gitCommit", "embedded")
        .put("gitTreeState", "clean")
        .put("buildDate", "2026-01-01T00:00:00Z")
        .put("goVersion", "none")
        .put("compiler", "javac")
        .put("platform", "jvm");
  }

  /** {@code /api}. */
  ObjectNode coreVersions() {
    ObjectNode versions = Json.object().put("kind", "APIVersions");
    versions.putArray("versions").add("v1");
    versions.putArray("serverAddressByClientCIDRs");
    return versions;
  }

  /** {@code /apis}. */
  ObjectNode groups() {
    ObjectNode list = Json.object().put("kind", "APIGroupList").put("apiVersion", "v1");
    ArrayNode groups = list.putArray("groups");
    byGroup()
        .forEach(
            (name, types) -> {
              if (!name.isEmpty()) {
                groups.add(group(name, types));
              }
            });
    return list;
  }

  /** {@code /apis/GROUP}, null when there is no such group. */
  ObjectNode group(String name) {
    List<ResourceType> types = byGroup().get(name);
    return types == null
        ? null
        : group(name, types).put("kind", "APIGroup").put("apiVersion", "v1");
  }

  private static ObjectNode group(String name, List<ResourceType> types) {
    ObjectNode group = Json.object().put("name", name);
    ArrayNode versions = group.putArray("versions");
    for (String version : versions(types)) {
      versions.addObject().put("groupVersion", name + "/" + version).put("version", version);
    }
    group.set("preferredVersion", versions.get(0));
    return group;
  }

  /** {@code /api/v1} and {@code /apis/GROUP/VERSION}, null when there is none. */
  ObjectNode resources(String apiVersion) {
    ObjectNode list =
        Json.object()
            .put("kind", "APIResourceList")
            .put("apiVersion", "v1")
            .put("groupVersion", apiVersion);
    ArrayNode resources = list.putArray("resources");
    for (ResourceType type : catalog.all()) {
      if (!type.apiVersion().equals(apiVersion)) {
        continue;
      }
      ObjectNode resource =
          resources
              .addObject()
              .put("name", type.plural())
              .put("singularName", type.singular())
              .put("namespaced", type.namespaced())
              .put("kind", type.kind());
      VERBS.forEach(resource.putArray("verbs")::add);
      if (!type.shortNames().isEmpty()) {
        type.shortNames().forEach(resource.putArray("shortNames")::add);
      }
      if (!type.categories().isEmpty()) {
        type.categories().forEach(resource.putArray("categories")::add);
      }
      for (String sub : new TreeSet<>(type.subresources())) {
        ObjectNode subresource =
            resources
                .addObject()
                .put("name", type.plural() + "/" + sub)
                .put("singularName", "")
                .put("namespaced", type.namespaced())
                .put("kind", type.kind());
        subresourceVerbs(sub).forEach(subresource.putArray("verbs")::add);
      }
    }
    return resources.isEmpty() ? null : list;
  }

  /**
   * The aggregated form of {@code /api} or {@code /apis}.
   *
   * @param core whether of the core group, else of all the others
   */
  ObjectNode aggregated(boolean core) {
    ObjectNode list =
        Json.object()
            .put("kind", "APIGroupDiscoveryList")
            .put("apiVersion", "apidiscovery.k8s.io/v2");
    list.putObject("metadata");
    ArrayNode items = list.putArray("items");
    byGroup()
        .forEach(
            (name, types) -> {
              if (name.isEmpty() == core) {
                ObjectNode group = items.addObject();
                ObjectNode metadata = group.putObject("metadata");
                metadata.putNull("creationTimestamp");
                if (!core) {
                  metadata.put("name", name);
                }
                ArrayNode versions = group.putArray("versions");
                for (String version : versions(types)) {
                  ObjectNode entry = versions.addObject().put("version", version);
                  ArrayNode resources = entry.putArray("resources");
                  types.stream()
                      .filter(t -> t.version().equals(version))
                      .forEach(t -> resources.add(aggregated(t)));
                  entry.put("freshness", "Current");
                }
              }
            });
    return list;
  }

  private static ObjectNode aggregated(ResourceType type) {
    ObjectNode resource = Json.object().put("resource", type.plural());
    resource.set("responseKind", kindOf(type));
    resource
        .put("scope", type.namespaced() ? "Namespaced" : "Cluster")
        .put("singularResource", type.singular());
    VERBS.forEach(resource.putArray("verbs")::add);
    if (!type.shortNames().isEmpty()) {
      type.shortNames().forEach(resource.putArray("shortNames")::add);
    }
    if (!type.categories().isEmpty()) {
      type.categories().forEach(resource.putArray("categories")::add);
    }
    if (!type.subresources().isEmpty()) {
      ArrayNode subresources = resource.putArray("subresources");
      for (String sub : new TreeSet<>(type.subresources())) {
        ObjectNode entry = subresources.addObject().put("subresource", sub);
        entry.set("responseKind", kindOf(type));
        subresourceVerbs(sub).forEach(entry.putArray("verbs")::add);
      }
    }
    return resource;
  }

  private static ObjectNode kindOf(ResourceType type) {
    return Json.object()
        .put("group", type.group())
        .put("version", type.version())
        .put("kind", type.kind());
  }

  private static List<String> subresourceVerbs(String subresource) {
    return switch (subresource) {
      case "log" -> List.of("get");
      case "binding" -> List.of("create");
      case "finalize" -> List.of("update");
      default -> List.of("get", "patch", "update");
    };
  }

  private static List<String> versions(List<ResourceType> types) {
    return types.stream().map(ResourceType::version).distinct().toList();
  }

  private Map<String, List<ResourceType>> byGroup() {
    Map<String, List<ResourceType>> groups = new TreeMap<>();
    for (ResourceType type : catalog.all()) {
      groups.computeIfAbsent(type.group(), g -> new ArrayList<>()).add(type);
    }
    return groups;
  }
}
