package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.PodLogs;
import java.io.IOException;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.List;

/** Answers {@code kubectl logs} from the files that {@link PodProcess} writes. */
final class ContainerLogs implements PodLogs {
  private static final long POLL_MILLIS = 100;

  private final LocalNode node;

  ContainerLogs(LocalNode node) {
    this.node = node;
  }

  @Override
  public void write(JsonNode pod, Query query, Answer answer)
      throws IOException, InterruptedException {
    JsonNode container = Json.at(pod, "spec", "containers").path(0);
    String name = Json.text(container, "name");
    String podName = Json.text(pod, "metadata", "name");
    if (!query.container().isEmpty() && !query.container().equals(name)) {
      throw ApiError.badRequest(
          "container " + query.container() + " is not valid for pod " + podName);
    }
    JsonNode status = Json.at(pod, "status", "containerStatuses").path(0);
    int restart = status.path("restartCount").asInt(0);
    if (Json.text(status, "state", "waiting", "reason").equals("CrashLoopBackOff")) {
      restart--; // what is waiting has not written yet; the run before it has
    }
    PodFiles files = node.filesOf(pod);
    if (query.previous()) {
      restart--;
    }
    Path log = files.log(name, restart);
    if (restart < 0 || !Files.exists(log)) {
      if (query.previous()) {
        throw ApiError.badRequest(
            "previous terminated container \"" + name + "\" in pod \"" + podName + "\" not found");
      }
      String reason = Json.text(status, "state", "waiting", "reason");
      throw ApiError.badRequest(
          "container \""
              + name
              + "\" in pod \""
              + podName
              + "\" is waiting to start: "
              + (reason.isEmpty() ? "ContainerCreating" : reason));
    }
    try (RandomAccessFile file = new RandomAccessFile(log.toFile(), "r")) {
      stream(file, pod, query, answer.open());
    }
  }

  private void stream(RandomAccessFile file, JsonNode pod, Query query, OutputStream out)
      throws IOException, InterruptedException {
    List<String> lines = new ArrayList<>();
    readLines(file, lines);
    Instant since =
        query.sinceSeconds() < 0 ? Instant.MIN : Instant.now().minusSeconds(query.sinceSeconds());
    lines.removeIf(line -> timeOf(line).isBefore(since));
    long skip = query.tailLines() < 0 ? 0 : Math.max(0, lines.size() - query.tailLines());
    long left = query.limitBytes() < 0 ? Long.MAX_VALUE : query.limitBytes();
    lines.subList(0, (int) skip).clear();
    left = write(out, lines, query, left);
    while (query.follow() && left > 0) {
      boolean running = node.isRunning(pod); // asked before reading, so that nothing is missed
      lines.clear();
      readLines(file, lines);
      left = write(out, lines, query, left);
      if (!running && lines.isEmpty()) {
        return;
      }
      if (lines.isEmpty()) {
        Thread.sleep(POLL_MILLIS);
      }
    }
  }

  /** Adds the lines that were completed since the last call. */
  private static void readLines(RandomAccessFile file, List<String> lines) throws IOException {
    long begin = file.getFilePointer();
    byte[] bytes = new byte[(int) Math.min(file.length() - begin, 1 << 24)];
    file.readFully(bytes);
    int end = bytes.length;
    while (end > 0 && bytes[end - 1] != '\n') {
      end--;
    }
    file.seek(begin + end); // the rest of a line that is being written comes next time
    new String(bytes, 0, end, StandardCharsets.UTF_8).lines().forEach(lines::add);
  }

  private static long write(OutputStream out, List<String> lines, Query query, long limit)
      throws IOException {
    long left = limit;
    for (String line : lines) {
      String shown = query.timestamps() ? line : line.substring(line.indexOf(' ') + 1);
      byte[] bytes = (shown + "\n").getBytes(StandardCharsets.UTF_8);
      int length = (int) Math.min(left, bytes.length);
      out.write(bytes, 0, length);
      left -= length;
    }
    out.flush();
    return left;
  }

  private static Instant timeOf(String line) {
    try {
      return Instant.parse(line.substring(0, Math.max(0, line.indexOf(' '))));
    } catch (DateTimeParseException e) {
      return Instant.MAX;
    }
  }
}
