package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.ApiServer;
import dev.perigee.cli.cluster.api.Deletion;
import dev.perigee.cli.cluster.api.Deletion.Propagation;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.ObjectStore;
import dev.perigee.cli.cluster.api.Registry;
import dev.perigee.cli.cluster.api.ResourceType;
import dev.perigee.cli.cluster.api.Write;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.logging.Level;
import java.util.logging.Logger;

/** The objects of pods, as their node reads and writes them. */
final class PodObjects {
  private static final Logger LOG = Logger.getLogger(PodObjects.class.getName());

  private final ObjectStore store;
  private final Registry registry;
  private final ResourceType pods;

  PodObjects(ApiServer api) {
    this.store = api.store();
    this.registry = api.registry();
    this.pods = api.catalog().core("pods");
  }

  /** Under which name the store knows pods. */
  String storageName() {
    return pods.storageName();
  }

  /** The pods of a namespace, or with "" of all. */
  List<ObjectNode> list(String namespace) {
    return store.list(pods.storageName(), namespace).objects();
  }

  /** A pod, null when there is none of that name. */
  ObjectNode get(String namespace, String name) {
    return store.get(Registry.key(pods, namespace, name));
  }

  /** The pod as it is now, null when it is gone. */
  ObjectNode current(ObjectNode pod) {
    ObjectNode live =
        get(Json.text(pod, "metadata", "namespace"), Json.text(pod, "metadata", "name"));
    return live != null && uid(live).equals(uid(pod)) ? live : null;
  }

  /** Tells the API that nothing of a deleted pod is left. */
  void finish(ObjectNode pod) {
    try {
      registry.delete(
          pods,
          Json.text(pod, "metadata", "namespace"),
          Json.text(pod, "metadata", "name"),
          new Deletion(Propagation.Background, 0, uid(pod), ""),
          false);
    } catch (ApiError e) {
      LOG.log(Level.FINE, e, () -> "the pod was gone already");
    }
  }

  /**
   * Changes the status of a pod.
   *
   * @throws ApiError 404 when it is gone, or another of its name is there
   */
  void updateStatus(JsonNode pod, UnaryOperator<ObjectNode> change) {
    String name = Json.text(pod, "metadata", "name");
    registry.update(
        pods,
        Json.text(pod, "metadata", "namespace"),
        name,
        "status",
        live -> {
          if (!uid(live).equals(uid(pod))) {
            throw ApiError.notFound(pods, name);
          }
          return change.apply(live);
        },
        LocalNode.KUBELET);
  }

  /** Writes to which node a pod goes. */
  void bind(ObjectNode pod, String node) {
    registry.update(
        pods,
        Json.text(pod, "metadata", "namespace"),
        Json.text(pod, "metadata", "name"),
        "binding",
        live -> {
          Json.child(live, "spec").put("nodeName", node);
          return live;
        },
        Write.by("kube-scheduler"));
  }

  /** Whether a pod has come to its end. */
  static boolean ended(ObjectNode pod) {
    String phase = Json.text(pod, "status", "phase");
    return phase.equals("Succeeded") || phase.equals("Failed");
  }

  static String uid(JsonNode object) {
    return Json.text(object, "metadata", "uid");
  }
}
