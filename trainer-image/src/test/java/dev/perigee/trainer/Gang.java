package dev.perigee.trainer;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;

/**
 * The pods of one job as processes on this machine, each with a loopback address and a root of its
 * own; checkpoints and data are in a folder that they share, as a volume would be.
 */
final class Gang implements AutoCloseable {
  static final int HTTP = 18080;
  static final int PEER = 18081;

  private static final ObjectMapper JSON = new ObjectMapper();
  private static final HttpClient CLIENT =
      HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();
  private static final AtomicInteger GANGS = new AtomicInteger();

  private final Path folder;
  private final RankMap map;
  private final List<Process> processes = new ArrayList<>();

  private Gang(Path folder, RankMap map) {
    this.folder = folder;
    this.map = map;
  }

  /** A model that trains in moments. */
  static final ModelConfig MODEL =
      new ModelConfig(
          258, 32, 64, 24, 2, 1, 2, 24, 16, 8, 4, 8, 8, 2, 1, 1, 1, 1.4, true, 10_000, null, 256,
          1e-6, 0.02, false);

  /** A short job on that model; {@code volume} gets its checkpoints. */
  static RunConfig config(Path volume, Mesh mesh, long steps) {
    return new RunConfig(
        "test/tiny",
        1,
        new RunConfig.Model(MODEL, null),
        List.of(new RunConfig.DataSource("sums", 1, "arithmetic", null)),
        new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
        64,
        8 * 64,
        mesh,
        new RunConfig.Optimizer(
            RunConfig.Optimizer.Kind.MuonClip,
            0.1,
            1,
            RunConfig.Optimizer.Muon.DEFAULT,
            RunConfig.Optimizer.AdamW.DEFAULT,
            new RunConfig.Optimizer.QkClip(0.01, 0.5), // so low that heads are clipped
            1e-3),
        new RunConfig.Schedule(3e-3, 0, 0, 3e-3),
        steps,
        new RunConfig.Checkpoint(volume.toString(), 20, 2),
        new RunConfig.Evaluation(0, 8, 0),
        new RunConfig.Network(HTTP, PEER, 30, 5));
  }

  /** Starts every pod. */
  static Gang start(Path folder, RunConfig config) throws IOException {
    Gang gang = prepare(folder, config);
    for (int pod = 0; pod < gang.map.pods().size(); pod++) {
      gang.startPod(pod);
    }
    return gang;
  }

  /** Writes the pods' files and starts none. */
  static Gang prepare(Path folder, RunConfig config) throws IOException {
    int number = GANGS.getAndIncrement();
    // Addresses that a neighbour's tests on this machine are unlikely to use.
    String network = "127." + (64 + ProcessHandle.current().pid() % 128) + "." + number + ".";
    int perPod = config.mesh().ranksPerPod();
    List<RankMap.Pod> pods = new ArrayList<>();
    for (int i = 0; i < config.mesh().pods(); i++) {
      List<Integer> ranks = IntStream.range(i * perPod, (i + 1) * perPod).boxed().toList();
      pods.add(new RankMap.Pod(i, network + (i + 1), null, ranks));
    }
    Gang gang = new Gang(folder.resolve("gang-" + number), new RankMap(1, pods));
    for (int i = 0; i < pods.size(); i++) {
      Path run = Files.createDirectories(gang.root(i).resolve("run"));
      JSON.writeValue(run.resolve("run.json").toFile(), config);
      JSON.writeValue(run.resolve("ranks.json").toFile(), gang.map);
    }
    return gang;
  }

  /** Starts one pod, with further flags for its JVM. */
  Gang startPod(int pod, String... flags) throws IOException {
    return startPodUnder(List.of(), pod, flags);
  }

  /** Starts one pod by another command that is given its command line. */
  Gang startPodUnder(List<String> starter, int pod, String... flags) throws IOException {
    List<String> command = new ArrayList<>(starter);
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("@" + Path.of("src/main/jvm/trainer.jvmargs").toAbsolutePath());
    command.add("-XX:TieredStopAtLevel=1"); // these runs are too short for the second compiler
    command.addAll(List.of(flags));
    command.add("-cp");
    command.add(System.getProperty("java.class.path"));
    command.add(Trainer.class.getName());
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.environment().put("PERIGEE_ROOT", root(pod).toString());
    builder.environment().put("PERIGEE_POD_INDEX", Integer.toString(pod));
    builder.environment().put("PERIGEE_POD_IP", address(pod));
    builder.redirectErrorStream(true).redirectOutput(log(pod).toFile());
    processes.add(builder.start());
    return this;
  }

  Path root(int pod) {
    return folder.resolve("pod-" + pod);
  }

  String address(int pod) {
    return map.pods().get(pod).name();
  }

  private Path log(int pod) {
    return folder.resolve("pod-" + pod + ".log");
  }

  /** What a pod has printed. */
  String output(int pod) throws IOException {
    return Files.readString(log(pod));
  }

  Process process(int pod) {
    return processes.get(pod);
  }

  /** Exit statuses of all pods, within that time. */
  List<Integer> exits(Duration patience) throws InterruptedException, IOException {
    long end = System.nanoTime() + patience.toNanos();
    List<Integer> exits = new ArrayList<>();
    for (int i = 0; i < processes.size(); i++) {
      if (!processes.get(i).waitFor(end - System.nanoTime(), TimeUnit.NANOSECONDS)) {
        throw new AssertionError("pod " + i + " still runs after " + patience + ": " + output(i));
      }
      exits.add(processes.get(i).exitValue());
    }
    return exits;
  }

  /** Returns when rank 0 has done that many steps. */
  void awaitStep(long step) throws InterruptedException, IOException {
    long end = System.nanoTime() + Duration.ofSeconds(60).toNanos();
    while (System.nanoTime() < end && process(0).isAlive()) {
      try {
        if (status().step() >= step) {
          return;
        }
      } catch (IOException notYet) {
        // It listens soon.
      }
      Thread.sleep(5);
    }
    throw new AssertionError("step " + step + " was not reached: " + output(0));
  }

  RunStatus status() throws InterruptedException, IOException {
    return JSON.readValue(request(0, "GET", "/status").body(), RunStatus.class);
  }

  HttpResponse<String> request(int pod, String method, String path)
      throws InterruptedException, IOException {
    URI uri = URI.create("http://" + address(pod) + ":" + HTTP + path);
    HttpRequest request =
        HttpRequest.newBuilder(uri)
            .timeout(Duration.ofSeconds(10))
            .method(method, HttpRequest.BodyPublishers.noBody())
            .build();
    return CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
  }

  @Override
  public void close() {
    processes.forEach(Process::destroyForcibly);
  }
}
