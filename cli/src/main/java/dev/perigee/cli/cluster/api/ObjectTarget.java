package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;

/**
 * What a request for objects names.
 *
 * @param type the kind as it is asked for
 * @param stored the kind that such objects are stored as: the two Event kinds share one store
 * @param namespace empty for all, or for a kind without
 * @param name empty for all objects of the kind
 * @param subresource empty for the object itself
 */
record ObjectTarget(
    ResourceType type, ResourceType stored, String namespace, String name, String subresource) {
  private static final List<String> INTERACTIVE = List.of("exec", "attach", "portforward");

  /** Reads {@code [namespaces/NAMESPACE/]PLURAL[/NAME[/SUBRESOURCE]]}. */
  static ObjectTarget of(ResourceCatalog catalog, String apiVersion, List<String> path) {
    List<String> rest = path;
    String namespace = "";
    if (rest.size() > 2
        && rest.getFirst().equals("namespaces")
        && catalog.find(apiVersion, rest.get(2)).isPresent()) {
      namespace = rest.get(1);
      rest = rest.subList(2, rest.size());
    }
    ResourceType type = catalog.find(apiVersion, rest.getFirst()).orElseThrow(ApiError::noSuchPath);
    if (rest.size() > 3) {
      throw ApiError.noSuchPath();
    }
    String name = rest.size() > 1 ? rest.get(1) : "";
    String subresource = rest.size() > 2 ? rest.get(2) : "";
    if (!subresource.isEmpty()
        && !type.subresources().contains(subresource)
        && !INTERACTIVE.contains(subresource)) {
      throw ApiError.noSuchPath();
    }
    if (type.namespaced() && namespace.isEmpty() && !name.isEmpty()) {
      throw ApiError.noSuchPath();
    }
    ResourceType stored = EventVersions.translated(type) ? catalog.core("events") : type;
    return new ObjectTarget(type, stored, namespace, name, subresource);
  }

  /** An object as it is stored, from what a client sends. */
  ObjectNode asStored(ObjectNode object) {
    return EventVersions.translated(type) ? EventVersions.toCore(object) : object;
  }

  /** A stored object as the client asked for it. */
  ObjectNode asServed(ObjectNode object) {
    return EventVersions.translated(type) ? EventVersions.fromCore(object) : type.stamped(object);
  }
}
