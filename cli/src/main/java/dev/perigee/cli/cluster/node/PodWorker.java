package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.Quantities;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Takes one pod through its life: volumes, process, probes, restarts, end. */
final class PodWorker {
  private static final Logger LOG = Logger.getLogger(PodWorker.class.getName());
  private static final Duration RETRY = Duration.ofSeconds(1);
  private static final Duration FIRST_BACKOFF = Duration.ofSeconds(10);
  private static final Duration LONGEST_BACKOFF = Duration.ofMinutes(5);

  private final LocalNode node;
  private final ObjectNode pod;
  private final JsonNode container;
  private final PodFiles files;
  private final Instant startTime = Instant.now();

  /** Completed with the seconds of grace when the pod is to end. */
  private final CompletableFuture<Long> stop = new CompletableFuture<>();

  private volatile PodProcess process;
  private volatile String address = "";
  private volatile PodReport report;

  PodWorker(LocalNode node, ObjectNode pod, PodFiles files) {
    this.node = node;
    this.pod = pod;
    this.container = Json.at(pod, "spec", "containers").path(0);
    this.files = files;
  }

  PodFiles files() {
    return files;
  }

  /** What was last reported, null before the first report. */
  PodReport report() {
    return report;
  }

  /** The running process, null when there is none. */
  PodProcess process() {
    return process;
  }

  /** Asks the pod to end. */
  void stop(long graceSeconds) {
    if (!stop.complete(graceSeconds) && graceSeconds == 0) {
      kill(); // no longer patient
    }
  }

  /** Kills the process, whatever comes of it. */
  void kill() {
    stop.complete(0L);
    PodProcess running = process;
    if (running != null) {
      running.kill();
    }
  }

  /** Runs the pod to its end. */
  void run() throws InterruptedException {
    try {
      if (prepare()) {
        runContainer();
      }
    } catch (Unsupported e) {
      node.events().warning(pod, "kubelet", "NotSupported", e.getMessage());
      fail("NotSupported", e.getMessage());
    } catch (ApiError e) {
      if (e.code() != 404) {
        throw e;
      }
      LOG.log(Level.FINE, e, () -> "the pod is gone");
    } finally {
      kill();
    }
  }

  /** What this node cannot do, though a real one could. */
  private static final class Unsupported extends Exception {
    private static final long serialVersionUID = 1L;

    Unsupported(String message) {
      super(message);
    }
  }

  /** Waits until all that the pod needs is there; false when it is to end before. */
  private boolean prepare() throws InterruptedException, Unsupported {
    if (Json.at(pod, "spec", "containers").size() != 1
        || !Json.at(pod, "spec", "initContainers").isEmpty()) {
      throw new Unsupported(
          "the embedded node runs pods of one container, without init containers");
    }
    report("Pending", new ContainerState.Waiting("ContainerCreating", ""), null, 0);
    String said = "";
    while (!stop.isDone()) {
      try {
        files.mount(pod);
        String name = Json.text(pod, "metadata", "name");
        String hostname = Json.text(pod, "spec", "hostname");
        address =
            node.network()
                .join(
                    Json.text(pod, "metadata", "namespace"),
                    name,
                    hostname.isEmpty() ? name : hostname,
                    Json.text(pod, "spec", "subdomain"));
        return true;
      } catch (IOException e) {
        if (!said.equals(e.getMessage())) {
          said = String.valueOf(e.getMessage());
          node.events().warning(pod, "kubelet", "FailedMount", said);
        }
        stopWithin(RETRY);
      }
    }
    return false;
  }

  private void runContainer() throws InterruptedException, Unsupported {
    ContainerState.Terminated last = null;
    Duration backoff = FIRST_BACKOFF;
    for (int restart = 0; !stop.isDone(); restart++) {
      Optional<PodProcess> started = start(restart, last);
      if (started.isEmpty()) {
        return;
      }
      process = started.get();
      watch(last, restart);
      int code = process.exitCode();
      ContainerState.Terminated ended =
          new ContainerState.Terminated(
              code,
              files.terminationMessage(container, restart, code),
              process.started(),
              Instant.now());
      boolean again =
          switch (Json.text(pod, "spec", "restartPolicy")) {
            case "Never" -> false;
            case "OnFailure" -> code != 0;
            default -> true;
          };
      boolean byRule = !again && RestartRules.apply(container, code);
      if (!(again || byRule) || stop.isDone()) {
        report(code == 0 ? "Succeeded" : "Failed", ended, last, restart);
        return;
      }
      last = ended;
      if (byRule && restart == 0) {
        continue; // as a kubelet does: the first time at once
      }
      String message = "back-off " + backoff.toSeconds() + "s restarting failed container";
      report("Running", new ContainerState.Waiting("CrashLoopBackOff", message), last, restart + 1);
      node.events().warning(pod, "kubelet", "BackOff", message);
      stopWithin(backoff);
      backoff =
          backoff.multipliedBy(2).compareTo(LONGEST_BACKOFF) < 0
              ? backoff.multipliedBy(2)
              : LONGEST_BACKOFF;
    }
  }

  /** Starts the container; waits, as a kubelet does, while its image cannot be had. */
  private Optional<PodProcess> start(int restart, ContainerState.Terminated last)
      throws InterruptedException, Unsupported {
    String image = Json.text(container, "image");
    String said = "";
    boolean first = true;
    while (!stop.isDone()) {
      String reason;
      String message;
      try {
        Optional<Programs.Program> program = node.programs().of(image);
        if (program.isPresent()) {
          PodProcess begun = launch(program.get(), restart);
          node.events().normal(pod, "kubelet", "Started", "Started container " + containerName());
          return Optional.of(begun);
        }
        reason = first ? "ErrImagePull" : "ImagePullBackOff";
        message =
            "no program of this machine stands for image \""
                + image
                + "\"; the embedded node knows perigee-trainer";
      } catch (IOException e) {
        reason = "CreateContainerError";
        message = String.valueOf(e.getMessage());
      }
      first = false;
      report("Pending", new ContainerState.Waiting(reason, message), last, restart);
      if (!said.equals(message)) {
        node.events().warning(pod, "kubelet", "Failed", message);
        said = message;
      }
      stopWithin(RETRY);
    }
    return Optional.empty();
  }

  private PodProcess launch(Programs.Program program, int restart) throws IOException, Unsupported {
    checkProbes();
    Map<String, String> environment = environment();
    List<String> command = new ArrayList<>();
    if (container.has("command")) {
      command.addAll(ContainerEnvironment.words(container.path("command"), environment));
    } else {
      command.addAll(program.withJvmOptions(jvmOptions()).command());
    }
    command.addAll(ContainerEnvironment.words(container.path("args"), environment));
    String workingDir = Json.text(container, "workingDir");
    Path directory = workingDir.isEmpty() ? files.root() : files.inRoot(workingDir);
    return PodProcess.start(command, environment, directory, files.log(containerName(), restart));
  }

  private Map<String, String> environment() throws IOException {
    Map<String, String> environment = new LinkedHashMap<>();
    for (String inherited : List.of("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")) {
      String value = System.getenv(inherited);
      if (value != null) {
        environment.put(inherited, value);
      }
    }
    environment.put("HOSTNAME", Json.text(pod, "metadata", "name"));
    environment.put("PERIGEE_ROOT", files.inRoot("/perigee").toString());
    ObjectNode withAddress = pod.deepCopy();
    Json.child(withAddress, "status").put("podIP", address).put("hostIP", "127.0.0.1");
    environment.putAll(ContainerEnvironment.of(withAddress, container, node.objectsOf(pod)));
    return environment;
  }

  private List<String> jvmOptions() {
    List<String> options = new ArrayList<>();
    options.add("-Djdk.net.hosts.file=" + node.network().hostsFile());
    options.add("-Dsun.net.inetaddr.negative.ttl=0"); // a peer's name may come a moment later
    String memory = Json.text(container, "resources", "limits", "memory");
    if (!memory.isEmpty()) {
      options.add("-XX:MaxRAM=" + Quantities.value(memory).longValue());
    }
    return options;
  }

  private void checkProbes() throws Unsupported {
    try {
      Probe.of(container, "readinessProbe");
      Probe.of(container, "livenessProbe");
      Probe.of(container, "startupProbe");
    } catch (IOException e) {
      throw new Unsupported(e.getMessage());
    }
  }

  /** Reports and probes the running container until it has ended. */
  private void watch(ContainerState.Terminated last, int restart) throws InterruptedException {
    PodProcess running = process;
    Optional<Probe> readiness = probe("readinessProbe");
    Optional<Probe> starting = probe("startupProbe");
    ProbeRun ready = new ProbeRun(readiness, readiness.isEmpty());
    ProbeRun startup = new ProbeRun(starting, starting.isEmpty());
    ProbeRun alive = new ProbeRun(probe("livenessProbe"), true);
    boolean reported = ready.holds() && startup.holds();
    report("Running", new ContainerState.Running(running.started(), reported), last, restart);
    CompletableFuture<Object> change = CompletableFuture.anyOf(running.onExit(), stop);
    while (!waited(change, Duration.ofMillis(250))) {
      startup.due(address);
      if (startup.holds()) {
        ready.due(address);
        alive.due(address);
      }
      if (startup.late() || !alive.holds()) {
        node.events()
            .warning(
                pod,
                "kubelet",
                "Unhealthy",
                (startup.late() ? "Startup" : "Liveness")
                    + " probe failed; the container is killed");
        running.stop(graceSeconds());
        break;
      }
      boolean now = ready.holds() && startup.holds();
      if (now != reported) {
        reported = now;
        report("Running", new ContainerState.Running(running.started(), now), last, restart);
      }
    }
    if (stop.isDone()) {
      node.events().normal(pod, "kubelet", "Killing", "Stopping container " + containerName());
      running.stop(stop.resultNow());
    }
  }

  private long graceSeconds() {
    return Json.at(pod, "spec", "terminationGracePeriodSeconds").asLong(30);
  }

  private Optional<Probe> probe(String name) {
    try {
      return Probe.of(container, name);
    } catch (IOException e) {
      return Optional.empty(); // refused before the start, see checkProbes
    }
  }

  private String containerName() {
    return Json.text(container, "name");
  }

  private void fail(String reason, String message) {
    node.pods()
        .updateStatus(
            pod,
            live -> {
              ObjectNode status = Json.child(live, "status");
              status.put("phase", "Failed").put("reason", reason).put("message", message);
              return live;
            });
  }

  private void report(
      String phase, ContainerState state, ContainerState.Terminated last, int restarts) {
    PodReport next = new PodReport(phase, state, last, restarts, address);
    if (!next.equals(report)) {
      report = next;
      node.pods().updateStatus(pod, live -> next.writeTo(live, startTime));
    }
  }

  /** Waits for a while, or until the pod is to end. */
  private void stopWithin(Duration time) throws InterruptedException {
    waited(stop, time);
  }

  private static boolean waited(CompletableFuture<?> future, Duration time)
      throws InterruptedException {
    try {
      future.get(time.toMillis(), TimeUnit.MILLISECONDS);
      return true;
    } catch (TimeoutException e) {
      return false;
    } catch (ExecutionException e) {
      throw new IllegalStateException(e);
    }
  }
}
