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
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
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
  private static final Duration GRACE = Duration.ofSeconds(60);

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
      description = "Save and give up when the jobs have not ended by then.")
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
    Path folder = state != null ? state : temporary();
    ProgressView view = ProgressView.forOutput(out, isTerminal());
    CompletableFuture<PerigeeCluster> running = new CompletableFuture<>();
    Interruption interruption = Interruption.onExit(() -> sayGoodbye(running, folder, view, out));
    boolean created = false;
    boolean good = false;
    try (PerigeeCluster perigee = start(folder)) {
      running.complete(perigee);
      Logging.toFile(folder.resolve("logs/cluster.log"));
      Manifests.create(documents, perigee.cluster().api());
      takeFolders(perigee.cluster());
      created = true;
      out.println("export KUBECONFIG=" + perigee.cluster().kubeconfig() + "   # to look inside");
      good = follow(perigee, view, out);
      interruption.over(); // before the cluster closes, which is nobody's farewell
    } finally {
      running.cancel(false); // when it did not come up
      interruption.over();
      if (state == null && (good || !created)) {
        Folders.deleteTree(folder); // with the log, which may still be open
      } else if (created && !good) {
        out.println("logs: " + folder.resolve("logs"));
      }
    }
    return good ? 0 : 1;
  }

  /** After Ctrl-C. A cluster that is coming up is let, because it would write while we delete. */
  private void sayGoodbye(
      CompletableFuture<PerigeeCluster> running, Path folder, ProgressView view, PrintWriter out)
      throws IOException, InterruptedException {
    view.end();
    out.println("\nstopping; the jobs save, and the same command goes on from there");
    try {
      running.get(GRACE.toSeconds(), TimeUnit.SECONDS).stop(GRACE);
    } catch (CancellationException | ExecutionException | TimeoutException _) {
      out.println("the cluster did not come up");
    }
    if (state == null) {
      Folders.deleteTree(folder); // nothing failed that its logs could explain
    }
  }

  private static Path temporary() throws IOException {
    try {
      return Files.createTempDirectory("perigee-");
    } catch (IOException e) {
      throw new IOException(
          "cannot make a folder in "
              + System.getProperty("java.io.tmpdir")
              + "; name one that can be written with TMPDIR, or with --state",
          e);
    }
  }

  private PerigeeCluster start(Path folder) throws IOException {
    return PerigeeCluster.start(
        new EmbeddedCluster.Options(port, folder, runs, Programs.ofCheckout(Perigee.home())));
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
        if (late) {
          out.println(
              "giving up after "
                  + timeoutSeconds
                  + " s (--timeout); the jobs save, and the same command goes on from there");
          perigee.drain(GRACE);
        }
        Summary summary = new Summary(out, perigee.cluster().node().volumes());
        jobs.forEach(summary::print);
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
