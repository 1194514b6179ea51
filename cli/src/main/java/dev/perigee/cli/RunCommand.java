package dev.perigee.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.EmbeddedCluster;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.ObjectStore;
import dev.perigee.cli.cluster.node.Folders;
import dev.perigee.cli.cluster.node.Programs;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code ./perigee run FILE...}. */
@Command(
    name = "run",
    description =
        "Start a cluster on this machine, create the manifests' objects in it, and follow the jobs"
            + " to their end. Exit code 0 when all are Complete, 1 otherwise.",
    mixinStandardHelpOptions = true)
final class RunCommand implements Callable<Integer> {
  private static final long POLL_MILLIS = 250;

  @Parameters(
      arity = "1..*",
      paramLabel = "FILE",
      description = "Manifests, YAML or JSON; - is standard input.")
  private List<Path> files;

  @Option(
      names = "--data",
      paramLabel = "FILE",
      description = "Text for the first data source that is on a volume: a file or a folder.")
  private Path data;

  @Option(
      names = "--state",
      paramLabel = "DIR",
      description =
          "Folder for logs and pods; it stays. Without it they are in a temporary folder that stays"
              + " when a job fails.")
  private Path state;

  @Option(
      names = "--runs",
      paramLabel = "DIR",
      defaultValue = "runs",
      description = "Folder of the volumes, as NAMESPACE/CLAIM; it stays (${DEFAULT-VALUE}).")
  private Path runs;

  @Option(
      names = "--port",
      defaultValue = "0",
      description = "Port of the API server on 127.0.0.1 (any free one).")
  private int port;

  @Option(
      names = "--timeout",
      paramLabel = "SECONDS",
      description = "Give up when the jobs have not ended by then.")
  private Long timeoutSeconds;

  @Override
  public Integer call() throws IOException, InterruptedException {
    PrintWriter out = Perigee.out();
    List<Manifests.Document> documents = Manifests.read(files);
    if (documents.stream().noneMatch(d -> d.kind().equals("PretrainJob"))) {
      throw new CommandFailure("no PretrainJob in " + files + ", so there is nothing to run", 2);
    }
    if (data != null) {
      Manifests.overrideData(documents, data);
    }
    if (timeoutSeconds != null && timeoutSeconds < 1) {
      throw new CommandFailure("--timeout: " + timeoutSeconds + "; expected 1 second or more", 2);
    }
    Path folder = state != null ? state : Files.createTempDirectory("perigee-");
    boolean created = false;
    boolean good = false;
    PerigeeCluster perigee = start(folder);
    try (perigee) {
      Logging.toFile(folder.resolve("logs/cluster.log"));
      Manifests.create(documents, perigee.cluster().api());
      takeFolders(perigee.cluster());
      created = true;
      out.println("export KUBECONFIG=" + perigee.cluster().kubeconfig() + "   # to look inside");
      ProgressView view = ProgressView.forOutput(out, isTerminal());
      Interruption interruption =
          Interruption.onExit(
              () -> {
                view.end();
                out.println("\nstopping; the jobs save, and the same command goes on from there");
                perigee.stop(Duration.ofSeconds(60));
              });
      good = follow(perigee, view, out);
      if (!interruption.over()) {
        Thread.sleep(Long.MAX_VALUE); // the farewell is at work, and the JVM ends after it
      }
      return good ? 0 : 1;
    } finally {
      if (state == null && (good || !created)) {
        Folders.deleteTree(folder); // with the log, which may still be open
      } else if (created && !good && !perigee.interrupted()) {
        out.println("logs: " + folder.resolve("logs"));
      }
    }
  }

  private PerigeeCluster start(Path folder) throws IOException {
    try {
      return PerigeeCluster.start(
          new EmbeddedCluster.Options(port, folder, runs, Programs.ofCheckout(Perigee.home())));
    } catch (IOException | RuntimeException e) {
      if (state == null) {
        Folders.deleteTree(folder);
      }
      throw e;
    }
  }

  /** Refuses jobs whose checkpoints another cluster writes, rather than have their pods wait. */
  private static void takeFolders(EmbeddedCluster cluster) throws IOException {
    for (ObjectNode job : jobs(cluster)) {
      cluster
          .node()
          .volumes()
          .take(
              Json.text(job, "metadata", "namespace"),
              Json.at(job, "spec", "checkpoints", "volume"));
    }
  }

  private static List<ObjectNode> jobs(EmbeddedCluster cluster) {
    return cluster.api().store().list("pretrainjobs.perigee.dev", "").objects();
  }

  private boolean follow(PerigeeCluster perigee, ProgressView view, PrintWriter out)
      throws InterruptedException {
    long started = System.nanoTime();
    Warnings warnings = new Warnings(perigee.cluster().api().store());
    while (true) {
      List<ObjectNode> jobs = jobs(perigee.cluster());
      List<JobView> views = jobs.stream().map(JobView::of).toList();
      warnings.next().forEach(view::say);
      view.show(views);
      boolean late =
          timeoutSeconds != null
              && System.nanoTime() - started > TimeUnit.SECONDS.toNanos(timeoutSeconds);
      if (late || views.stream().allMatch(v -> v.outcome().isPresent())) {
        view.end();
        Summary summary = new Summary(out, perigee.cluster().node().volumes());
        jobs.forEach(summary::print);
        if (late) {
          out.println("gave up after " + timeoutSeconds + " s (--timeout)");
        }
        return views.stream()
            .allMatch(v -> v.outcome().filter(JobView.Outcome.Complete::equals).isPresent());
      }
      Thread.sleep(POLL_MILLIS);
    }
  }

  /** The warnings among the events, each once. */
  private static final class Warnings {
    private final ObjectStore store;
    private final Set<String> seen = new HashSet<>();

    Warnings(ObjectStore store) {
      this.store = store;
    }

    List<String> next() {
      return store.list("events", "").objects().stream()
          .filter(e -> Json.text(e, "type").equals("Warning"))
          .filter(e -> seen.add(Json.text(e, "metadata", "uid")))
          .map(
              e ->
                  "  ! "
                      + Json.text(e, "involvedObject", "name")
                      + ": "
                      + Json.text(e, "reason")
                      + ": "
                      + Json.text(e, "message"))
          .toList();
    }
  }

  @SuppressWarnings("SystemConsoleNull") // it is null where the JDK's console provider is not JLine
  private static boolean isTerminal() {
    return System.console() != null && System.console().isTerminal();
  }
}
