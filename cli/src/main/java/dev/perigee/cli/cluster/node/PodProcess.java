package dev.perigee.cli.cluster.node;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * A container as a process, under a small shell that stands for the container runtime: it passes
 * SIGTERM on, keeps the terminal's Ctrl-C away, and kills the program when its standard input ends,
 * which is when the node is gone, however it went.
 */
final class PodProcess {
  private static final Logger LOG = Logger.getLogger(PodProcess.class.getName());

  private static final String SUPERVISE =
      """
      trap '' INT
      exec 3<&0 </dev/null
      "$@" 3<&- &
      child=$!
      trap 'kill -TERM "$child" 2>/dev/null' TERM
      { while read -r _ <&3; do :; done; kill -KILL "$child" 2>/dev/null; } &
      watcher=$!
      while :; do
        wait "$child"
        code=$?
        kill -0 "$child" 2>/dev/null || break
      done
      kill -KILL "$watcher" 2>/dev/null
      exit "$code"
      """;

  private final Process process;
  private final Instant started = Instant.now();
  private final Thread log;

  private PodProcess(Process process, Path logFile) {
    this.process = process;
    this.log = Thread.ofVirtual().start(() -> copyLog(process, logFile));
  }

  /**
   * Starts a program.
   *
   * @param environment the whole of it
   * @param logFile gets what it writes, each line after its time
   * @throws IOException when it cannot be started
   */
  static PodProcess start(
      List<String> command, Map<String, String> environment, Path directory, Path logFile)
      throws IOException {
    List<String> supervised = new ArrayList<>(List.of("/bin/sh", "-c", SUPERVISE, "pod"));
    supervised.addAll(command);
    ProcessBuilder builder = new ProcessBuilder(supervised);
    builder.directory(directory.toFile()).redirectErrorStream(true);
    builder.environment().clear();
    builder.environment().putAll(environment);
    Files.createDirectories(logFile.getParent());
    return new PodProcess(builder.start(), logFile);
  }

  private static void copyLog(Process process, Path logFile) {
    try (BufferedReader lines =
            new BufferedReader(
                new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        Writer out = Files.newBufferedWriter(logFile, StandardCharsets.UTF_8)) {
      String line = lines.readLine();
      while (line != null) {
        out.write(Instant.now() + " " + line + "\n");
        if (!lines.ready()) {
          out.flush();
        }
        line = lines.readLine();
      }
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> "the log " + logFile + " ended early");
    }
  }

  Instant started() {
    return started;
  }

  /** Completes when it has ended. */
  CompletableFuture<Process> onExit() {
    return process.onExit();
  }

  /** The exit code, 128 + n for signal n, once it has ended and its log is complete. */
  int exitCode() throws InterruptedException {
    int code = process.waitFor();
    log.join(2_000);
    return code;
  }

  /** Asks it to end (SIGTERM), and kills it when it has not after some seconds. */
  void stop(long graceSeconds) throws InterruptedException {
    if (graceSeconds > 0) {
      process.destroy();
      try {
        process.onExit().get(graceSeconds, TimeUnit.SECONDS);
        return;
      } catch (TimeoutException e) {
        LOG.fine("the grace period is over");
      } catch (ExecutionException e) {
        throw new IllegalStateException(e);
      }
    }
    kill();
  }

  /** Kills it and all that it started. */
  void kill() {
    process.descendants().forEach(ProcessHandle::destroyForcibly);
  }

  /** The program's own process, for tests that kill it. */
  List<ProcessHandle> programs() {
    return process.children().toList();
  }
}
