package dev.perigee.cli;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.api.Condition;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.node.Volumes;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Locale;
import java.util.Optional;

/** What is printed when a job has ended. */
final class Summary {
  private final PrintWriter out;
  private final Volumes volumes;

  /**
   * A summary.
   *
   * @param volumes where the jobs' checkpoints are
   */
  Summary(PrintWriter out, Volumes volumes) {
    this.out = out;
    this.volumes = volumes;
  }

  /** Prints how a job ended and what came of it, and draws its pictures. */
  void print(JsonNode job) {
    JobView view = JobView.of(job);
    PretrainJobStatus status = view.status();
    String took =
        status.startTime() != null && status.completionTime() != null
            ? " in "
                + TimeLeft.shown(
                    Duration.between(
                        Instant.parse(status.startTime()), Instant.parse(status.completionTime())))
            : "";
    if (view.outcome().equals(Optional.of(JobView.Outcome.Complete))) {
      out.println(view.title() + ": Complete" + took + restarts(status));
    } else {
      out.println(
          view.title()
              + ": "
              + view.doing()
              + restarts(status)
              + ": "
              + view.why().map(Condition::message).orElse("no reason was given"));
    }
    if (!view.numbers().isEmpty()) {
      out.println("  last step   " + view.numbers());
    }
    Path checkpoints = checkpoints(job);
    if (status.evaluation() != null) {
      evaluation(status.evaluation());
    }
    if (status.lastDurableCheckpoint() != null) {
      out.println(
          "  checkpoint  "
              + volume(job).resolve(status.lastDurableCheckpoint().path()).normalize());
    }
    pictures(view, checkpoints);
    out.flush();
  }

  private static String restarts(PretrainJobStatus status) {
    int restarts = status.restarts() == null ? 0 : status.restarts();
    return restarts == 0 ? "" : " after " + restarts + (restarts == 1 ? " restart" : " restarts");
  }

  private void evaluation(PretrainJobStatus.Evaluation e) {
    if (e.exact() != null && e.problems() != null) {
      out.printf(
          Locale.ROOT,
          "  held out    %.1f %% exact answers (%d of %d problems)%n",
          100 * e.exact(),
          Math.round(e.exact() * e.problems()),
          e.problems());
    }
    if (e.bitsPerByte() != null) {
      out.printf(Locale.ROOT, "  held out    %.3f bits per byte%n", e.bitsPerByte());
    }
    if (e.sample() != null && !e.sample().isBlank()) {
      out.println("  it says     " + e.sample().strip().replace("\n", "\n              "));
    }
  }

  private void pictures(JobView view, Path checkpoints) {
    Path file = checkpoints.resolve(History.FILE);
    if (!Files.isRegularFile(file)) {
      return;
    }
    try {
      History history = History.read(file);
      if (!history.steps().isEmpty()) {
        for (Path picture : HistoryPlots.draw(history, checkpoints, view.title())) {
          out.println("  picture     " + picture);
        }
      }
    } catch (IOException | RuntimeException | LinkageError e) {
      // Drawing needs java.desktop and fonts, which a small system may lack; the numbers are in the
      // file.
      String why =
          ModuleLayer.boot().findModule("java.desktop").isPresent()
              ? e.getMessage()
              : "this JDK has no java.desktop";
      out.println("  no picture  " + why + " (the numbers are in " + file + ")");
    }
  }

  /** The folder of a job's checkpoints on this machine. */
  private Path checkpoints(JsonNode job) {
    String path = Json.text(job, "spec", "checkpoints", "path");
    return volume(job).resolve(path.isEmpty() ? Json.text(job, "metadata", "name") : path);
  }

  private Path volume(JsonNode job) {
    return volumes.folder(
        Json.text(job, "metadata", "namespace"), Json.at(job, "spec", "checkpoints", "volume"));
  }
}
