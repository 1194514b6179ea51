package dev.perigee.engine.bench;

import dev.perigee.engine.bench.GangWorker.Order;
import java.io.BufferedReader;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/** Starts {@link GangWorker}s as processes and waits for what they answer. */
final class GangLauncher {
  private static final Duration LONGEST = Duration.ofMinutes(15);

  private final Path folder;

  /** With a folder for orders and answers. */
  GangLauncher(Path folder) {
    this.folder = folder;
  }

  /**
   * Lets a gang do its work.
   *
   * @param pods processes that its ranks are dealt out to
   * @return what each rank has done, in their order
   * @throws IllegalStateException when a process fails, which has said why on standard error
   */
  List<GangWork.Done> run(GangWork work, int pods) throws IOException, InterruptedException {
    List<Path> answers = new ArrayList<>();
    List<Process> processes = start(work, pods, answers);
    List<GangWork.Done> done = new ArrayList<>();
    try {
      for (int pod = 0; pod < pods; pod++) {
        boolean ended = processes.get(pod).waitFor(LONGEST.toSeconds(), TimeUnit.SECONDS);
        if (!ended || processes.get(pod).exitValue() != 0) {
          throw new IllegalStateException(
              "worker %d of %d, %s: %s"
                  .formatted(
                      pod,
                      pods,
                      work.kind(),
                      ended ? "exit " + processes.get(pod).exitValue() : "longer than " + LONGEST));
        }
        done.addAll(GangWorker.read(answers.get(pod)).ranks());
      }
    } finally {
      processes.forEach(Process::destroyForcibly);
    }
    return done;
  }

  /**
   * How the others ended after one was killed.
   *
   * @param exitCodes of the others
   * @param seconds until the last of them had ended
   * @param pids of all processes
   */
  record Ended(List<Integer> exitCodes, double seconds, List<Long> pids) {}

  /** Kills one of the processes, one for each rank, in the middle of its work. */
  Ended killOne(GangWork work, int victim) throws IOException, InterruptedException {
    List<Process> processes = start(work, work.mesh().world(), new ArrayList<>());
    try {
      for (Process process : processes) {
        awaitGoing(process);
      }
      long start = System.nanoTime();
      processes.get(victim).destroyForcibly();
      List<Integer> codes = new ArrayList<>();
      for (int pod = 0; pod < processes.size(); pod++) {
        Process process = processes.get(pod);
        if (pod != victim) {
          codes.add(process.waitFor(60, TimeUnit.SECONDS) ? process.exitValue() : -1);
        }
      }
      double seconds = (System.nanoTime() - start) / 1e9;
      processes.get(victim).waitFor();
      return new Ended(codes, seconds, processes.stream().map(Process::pid).toList());
    } finally {
      processes.forEach(Process::destroyForcibly);
    }
  }

  private static void awaitGoing(Process process) throws IOException {
    // Not closed: closing would end the process at its next line.
    BufferedReader said = process.inputReader(StandardCharsets.UTF_8);
    String line;
    do {
      line = said.readLine();
      if (line == null) {
        throw new IllegalStateException("a worker ended before it exchanged rows; see above");
      }
    } while (!line.equals(GangWorker.GOING));
  }

  private List<Process> start(GangWork work, int pods, List<Path> answers) throws IOException {
    int port = freePort();
    List<Process> processes = new ArrayList<>();
    for (int pod = 0; pod < pods; pod++) {
      Path order = Files.createTempFile(folder, "order", ".json");
      Path answer = Files.createTempFile(folder, "answer", ".json");
      answers.add(answer);
      GangWorker.write(new Order(work, pods, pod, port, answer.toString()), order);
      ProcessBuilder builder = new ProcessBuilder(command(order));
      builder.environment().putAll(environment());
      processes.add(builder.redirectError(ProcessBuilder.Redirect.INHERIT).start());
    }
    return processes;
  }

  /** NVLink multicast stays off: a program that fails with it can take the host's GPUs along. */
  static Map<String, String> environment() {
    return new TreeMap<>(Map.of("NCCL_NVLS_ENABLE", "0"));
  }

  private static List<String> command(Path order) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
        .filter(a -> a.startsWith("-X") || a.startsWith("--enable") || a.startsWith("--sun"))
        .forEach(command::add);
    command.addAll(
        List.of(
            "-cp",
            System.getProperty("java.class.path"),
            GangWorker.class.getName(),
            order.toString()));
    return command;
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, GangWorker.address(0))) {
      return socket.getLocalPort();
    }
  }
}
