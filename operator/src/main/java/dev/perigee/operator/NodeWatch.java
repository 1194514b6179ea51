package dev.perigee.operator;

import dev.perigee.operator.gang.NodeState;
import dev.perigee.operator.gang.Nodes;
import io.fabric8.kubernetes.api.model.ListOptionsBuilder;
import io.fabric8.kubernetes.api.model.Node;
import io.fabric8.kubernetes.api.model.Quantity;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.informers.SharedIndexInformer;
import java.net.HttpURLConnection;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The nodes of the cluster, so that a lost one is noticed before its pods are evicted. They belong
 * to the cluster: an operator with rights in its namespaces alone does without, and notices by the
 * pods.
 */
final class NodeWatch implements Nodes, AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(NodeWatch.class);

  private final KubernetesClient client;

  /** Null when nodes may not be read. */
  private final SharedIndexInformer<Node> informer;

  private NodeWatch(KubernetesClient client, SharedIndexInformer<Node> informer) {
    this.client = client;
    this.informer = informer;
  }

  /** Begins to watch, where that is allowed. */
  static NodeWatch start(KubernetesClient client) {
    if (!mayRead(client)) {
      LOG.info("nodes may not be read; a lost node is noticed when its pods are evicted");
      return new NodeWatch(client, null);
    }
    return new NodeWatch(
        client,
        client
            .nodes()
            .runnableInformer(0)
            // Without this it ends for good at an event that it cannot read.
            .exceptionHandler((watchedBefore, problem) -> watchedBefore)
            .run());
  }

  private static boolean mayRead(KubernetesClient client) {
    try {
      client.nodes().list(new ListOptionsBuilder().withLimit(1L).build());
      return true;
    } catch (KubernetesClientException e) {
      if (e.getCode() != HttpURLConnection.HTTP_FORBIDDEN) {
        throw e;
      }
      return false;
    }
  }

  /**
   * Whether nodes were watched and no longer are, so that what is known of them is old. An API
   * server that is away for a while is not meant: all else that is watched waits for it, too.
   */
  boolean isCutOff() {
    if (informer == null || (informer.isRunning() && informer.isWatching())) {
      return false;
    }
    if (!informer.isRunning()) {
      return true;
    }
    // A watch that was opened anew looks the same until there is news, which may take a minute.
    try {
      return !mayRead(client);
    } catch (RuntimeException e) { // a connection that breaks has an exception of its own
      return false;
    }
  }

  @Override
  public Optional<NodeState> named(String name) {
    if (informer == null) {
      return Optional.empty();
    }
    Node known = informer.getStore().getByKey(name);
    if (known == null) {
      // Gone, or so new that the watch has not told yet.
      known = client.nodes().withName(name).get();
    }
    return Optional.of(known == null ? NodeState.gone(name) : NodeState.of(known));
  }

  @Override
  public Optional<Map<String, Quantity>> most(Map<String, String> labels) {
    if (informer == null) {
      return Optional.empty();
    }
    Map<String, Quantity> most = new HashMap<>();
    for (Node node : informer.getStore().list()) {
      Map<String, String> its =
          Objects.requireNonNullElse(node.getMetadata().getLabels(), Map.of());
      if (node.getStatus() != null
          && node.getStatus().getAllocatable() != null
          && its.entrySet().containsAll(labels.entrySet())) {
        node.getStatus()
            .getAllocatable()
            .forEach((name, has) -> most.merge(name, has, NodeWatch::larger));
      }
    }
    return Optional.of(most);
  }

  private static Quantity larger(Quantity a, Quantity b) {
    return a.getNumericalAmount().compareTo(b.getNumericalAmount()) >= 0 ? a : b;
  }

  @Override
  public void close() {
    if (informer != null) {
      informer.close();
    }
  }
}
