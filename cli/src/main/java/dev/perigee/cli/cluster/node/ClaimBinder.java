package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Registry;
import dev.perigee.cli.cluster.api.ResourceType;
import dev.perigee.cli.cluster.api.Write;

/** Binds claims, as a cluster's storage would; {@link Volumes} has their folders. */
final class ClaimBinder {
  private static final Write VOLUMES = Write.by("perigee-volumes");

  private final Registry registry;
  private final ResourceType claims;

  ClaimBinder(Registry registry, ResourceType claims) {
    this.registry = registry;
    this.claims = claims;
  }

  /** Binds a claim that has come. */
  void bind(String namespace, String name) {
    registry.update(
        claims,
        namespace,
        name,
        "",
        claim -> {
          Json.child(claim, "spec").put("volumeName", namespace + "-" + name);
          return claim;
        },
        VOLUMES);
    registry.update(
        claims,
        namespace,
        name,
        "status",
        claim -> {
          ObjectNode status = Json.child(claim, "status").put("phase", "Bound");
          status.set("accessModes", Json.at(claim, "spec", "accessModes").deepCopy());
          status
              .putObject("capacity")
              .put("storage", Json.text(claim, "spec", "resources", "requests", "storage"));
          return claim;
        },
        VOLUMES);
  }
}
