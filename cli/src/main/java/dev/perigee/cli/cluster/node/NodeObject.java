package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Registry;
import dev.perigee.cli.cluster.api.ResourceType;
import java.lang.management.ManagementFactory;
import java.time.Instant;
import java.util.List;

/** The node's own object: what it is and what it has. */
final class NodeObject {
  private NodeObject() {}

  /** Makes it, with this machine's processors and memory. */
  static void register(Registry registry, ResourceType nodes) {
    ObjectNode node = Json.object();
    Json.metadata(node)
        .put("name", LocalNode.NAME)
        .putObject("labels")
        .put("kubernetes.io/hostname", LocalNode.NAME)
        .put("kubernetes.io/os", "linux")
        .put("kubernetes.io/arch", System.getProperty("os.arch").replace("aarch64", "arm64"));
    registry.create(nodes, "", node, LocalNode.KUBELET);
    var system =
        (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    registry.update(
        nodes,
        "",
        LocalNode.NAME,
        "status",
        live -> {
          ObjectNode status = Json.child(live, "status");
          for (String kind : List.of("capacity", "allocatable")) {
            status
                .putObject(kind)
                .put("cpu", Integer.toString(Runtime.getRuntime().availableProcessors()))
                .put("memory", system.getTotalMemorySize() / 1024 + "Ki")
                .put("pods", "250");
          }
          status.putObject("nodeInfo").put("kubeletVersion", "v1.33.0+perigee");
          String now = ContainerState.time(Instant.now());
          PodReport.condition(status, "Ready", true, "KubeletReady", now);
          return live;
        },
        LocalNode.KUBELET);
  }
}
