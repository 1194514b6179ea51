package dev.perigee.cli;

import dev.perigee.cli.cluster.EmbeddedCluster;
import dev.perigee.operator.OperatorOptions;
import dev.perigee.operator.OperatorRuntime;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.io.IOException;
import java.time.Duration;

/** An embedded cluster with the operator at work in it. */
final class PerigeeCluster implements AutoCloseable {
  private final EmbeddedCluster cluster;
  private KubernetesClient client;
  private OperatorRuntime operator;
  private boolean closed;

  private PerigeeCluster(EmbeddedCluster cluster) {
    this.cluster = cluster;
  }

  /**
   * Starts both.
   *
   * @throws CommandFailure when there is no such port
   */
  static PerigeeCluster start(EmbeddedCluster.Options options) throws IOException {
    if (options.port() < 0 || options.port() > 65_535) {
      throw new CommandFailure(
          "--port: " + options.port() + "; expected 1 to 65535, or 0 for any free one", 2);
    }
    PerigeeCluster perigee = new PerigeeCluster(EmbeddedCluster.start(options));
    try {
      perigee.startOperator();
      return perigee;
    } catch (RuntimeException e) {
      perigee.close();
      throw e;
    }
  }

  /** The cluster without the operator. */
  EmbeddedCluster cluster() {
    return cluster;
  }

  /** Starts the operator, unless it runs. */
  synchronized void startOperator() {
    if (operator == null && !closed) {
      client = cluster.client();
      operator =
          OperatorRuntime.start(
              client,
              new OperatorOptions(
                  OperatorOptions.DEFAULT.namespaces(),
                  OperatorOptions.DEFAULT.trainerImage(),
                  Duration.ofSeconds(1),
                  OperatorOptions.DEFAULT.statusProbe(),
                  OperatorOptions.DEFAULT.clock()));
    }
  }

  /** Stops the operator; pods go on. */
  synchronized void stopOperator() {
    if (operator != null) {
      operator.close();
      operator = null;
      client.close();
    }
  }

  /**
   * Stops the operator first, so that it does not mend what ends now, then asks the pods to save
   * and to end.
   */
  synchronized void drain(Duration grace) throws InterruptedException {
    stopOperator();
    cluster.node().drain(grace);
  }

  /** What an interruption asks for: {@link #drain}, and an end. */
  synchronized void stop(Duration grace) throws InterruptedException {
    drain(grace);
    close();
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      stopOperator();
      cluster.close();
    }
  }
}
