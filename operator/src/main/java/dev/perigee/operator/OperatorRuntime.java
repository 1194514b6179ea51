package dev.perigee.operator;

import dev.perigee.operator.pretrain.PretrainJobReconciler;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.javaoperatorsdk.operator.Operator;
import io.javaoperatorsdk.operator.processing.retry.GenericRetry;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;

/** The operator at work, in a process of its own or inside another. */
public final class OperatorRuntime implements AutoCloseable {
  private final Operator operator;
  private final NodeWatch nodes;
  private final CountDownLatch closed = new CountDownLatch(1);

  private OperatorRuntime(Operator operator, NodeWatch nodes) {
    this.operator = operator;
    this.nodes = nodes;
  }

  /**
   * Starts the operator. It works until closed.
   *
   * @param client how to reach the cluster; it stays the caller's and is not closed
   * @param options how to behave
   * @throws io.javaoperatorsdk.operator.OperatorException when the cluster cannot be reached or
   *     lacks the custom resource definitions
   */
  public static OperatorRuntime start(KubernetesClient client, OperatorOptions options) {
    Operator operator =
        new Operator(
            overrider ->
                overrider
                    .withKubernetesClient(client)
                    .withCloseClientOnStop(false)
                    .checkingCRDAndValidateLocalModel(true)
                    .withUseSSAToPatchPrimaryResource(true)
                    .withReconciliationTerminationTimeout(Duration.ofSeconds(5)));
    NodeWatch nodes = NodeWatch.start(client);
    operator.register(
        new PretrainJobReconciler(options, nodes),
        overrider -> {
          // Until it works: an API server that is away for a while comes back.
          overrider.withRetry(
              new GenericRetry()
                  .withoutMaxAttempts()
                  .setInitialInterval(Duration.ofSeconds(1))
                  .setIntervalMultiplier(2)
                  .setMaxInterval(30_000));
          if (!options.namespaces().isEmpty()) {
            overrider.settingNamespaces(options.namespaces());
          }
        });
    operator.start();
    return new OperatorRuntime(operator, nodes);
  }

  /** Stops watching and reconciling; what runs in the cluster goes on. */
  @Override
  public synchronized void close() {
    if (closed.getCount() > 0) {
      operator.stop();
      nodes.close();
      closed.countDown();
    }
  }

  /** Waits until another thread closes this. */
  public void awaitClose() throws InterruptedException {
    closed.await();
  }
}
