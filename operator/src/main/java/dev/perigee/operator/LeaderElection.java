package dev.perigee.operator;

import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.vertx.core.VertxException;
import java.time.Duration;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * How replicas agree on which of them works: the holder of a Lease does; the others keep their
 * caches warm and wait.
 *
 * <p>A holder that stops gives the Lease back, so the next one has it within {@link #RETRY_PERIOD}.
 * One that dies keeps it until {@link #LEASE_DURATION} has passed since its last renewal, so the
 * longest hand-over is the sum of the two, 12 s. One that cannot renew for {@link #RENEW_DEADLINE}
 * stops before anyone else may start.
 *
 * @param namespace namespace of the Lease
 * @param lease its name
 * @param identity who this replica is: its pod's name
 */
public record LeaderElection(String namespace, String lease, String identity) {
  private static final Logger LOG = LoggerFactory.getLogger(LeaderElection.class);

  static final Duration LEASE_DURATION = Duration.ofSeconds(10);
  static final Duration RENEW_DEADLINE = Duration.ofSeconds(7);
  static final Duration RETRY_PERIOD = Duration.ofSeconds(2);

  /**
   * Gives the Lease back, when this replica holds it. When that fails, the next one waits until the
   * Lease has run out.
   */
  void release(KubernetesClient client) {
    try {
      Lease held = client.leases().inNamespace(namespace).withName(lease).get();
      if (held == null || !identity.equals(held.getSpec().getHolderIdentity())) {
        return;
      }
      held.getSpec().setHolderIdentity("");
      // It carries its version: whoever has taken the Lease meanwhile keeps it.
      client.resource(held).patch(PatchContext.of(PatchType.JSON_MERGE));
    } catch (KubernetesClientException | VertxException | IllegalStateException e) {
      LOG.info("the Lease was not given back: {}", e.getMessage());
    }
  }
}
