package dev.perigee.cli;

import dev.perigee.cli.cluster.EmbeddedCluster;
import dev.perigee.cli.cluster.node.Programs;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code ./perigee up}. */
@Command(
    name = "up",
    description = "Start a cluster on this machine, for kubectl, until Ctrl-C.",
    mixinStandardHelpOptions = true)
final class UpCommand implements Callable<Integer> {
  @Option(
      names = "--port",
      defaultValue = "16443",
      description = "Port of the API server on 127.0.0.1; 0 takes any free one (${DEFAULT-VALUE}).")
  private int port;

  @Option(
      names = "--state",
      defaultValue = ".perigee",
      description =
          "Folder for the kubeconfig, logs and pods (${DEFAULT-VALUE}). The cluster's objects are"
              + " in memory and end with it.")
  private Path state;

  @Option(
      names = "--runs",
      defaultValue = "runs",
      description = "Folder of the volumes, as NAMESPACE/CLAIM; it stays (${DEFAULT-VALUE}).")
  private Path runs;

  @Override
  public Integer call() throws IOException, InterruptedException {
    PrintWriter out = Perigee.out();
    PerigeeCluster perigee =
        PerigeeCluster.start(
            new EmbeddedCluster.Options(port, state, runs, Programs.ofCheckout(Perigee.home())));
    Interruption.onExit(() -> perigee.stop(Duration.ofSeconds(30)));
    out.println("cluster at " + perigee.cluster().api().url() + "; Ctrl-C ends it, and its objects");
    out.println("export KUBECONFIG=" + perigee.cluster().kubeconfig());
    new CountDownLatch(1).await();
    return 0;
  }
}
