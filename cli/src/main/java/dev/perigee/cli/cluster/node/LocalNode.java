package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.ApiServer;
import dev.perigee.cli.cluster.api.Deletion;
import dev.perigee.cli.cluster.api.Deletion.Propagation;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.ObjectStore;
import dev.perigee.cli.cluster.api.ObjectStore.Change;
import dev.perigee.cli.cluster.api.ObjectStore.ChangeType;
import dev.perigee.cli.cluster.api.PodLogs;
import dev.perigee.cli.cluster.api.Registry;
import dev.perigee.cli.cluster.api.ResourceType;
import dev.perigee.cli.cluster.api.Write;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiFunction;
import java.util.function.UnaryOperator;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * The only node: it binds pods to itself, claims to folders, and takes each pod through its life by
 * a {@link PodWorker} on a virtual thread.
 */
public final class LocalNode implements AutoCloseable {
  /** The node's name. */
  public static final String NAME = "local";

  private static final Logger LOG = Logger.getLogger(LocalNode.class.getName());
  private static final Write KUBELET = Write.by("kubelet");

  private final ObjectStore store;
  private final Registry registry;
  private final ResourceType pods;
  private final ResourceType claims;
  private final ResourceType nodes;
  private final Map<String, ResourceType> sources;
  private final Programs programs;
  private final Path stateDir;
  private final Volumes volumes;
  private final PodNetwork network;
  private final PodEvents events;
  private final Map<String, PodWorker> workers = new ConcurrentHashMap<>();
  private final List<Thread> threads = new ArrayList<>();
  private final Thread loop;

  /**
   * Registers the node and starts to run pods.
   *
   * @param programs which program an image stands for
   * @param stateDir gets a folder for each pod
   * @param runsDir has the volumes of claims, as {@code NAMESPACE/CLAIM}
   * @throws IOException when a folder cannot be made; the message names it
   */
  public LocalNode(ApiServer api, Programs programs, Path stateDir, Path runsDir)
      throws IOException {
    this.store = api.store();
    this.registry = api.registry();
    this.pods = api.catalog().core("pods");
    this.claims = api.catalog().core("persistentvolumeclaims");
    this.nodes = api.catalog().core("nodes");
    this.sources =
        Map.of(
            "configmaps", api.catalog().core("configmaps"),
            "secrets", api.catalog().core("secrets"),
            "persistentvolumeclaims", claims);
    this.programs = programs;
    this.stateDir = Files.createDirectories(stateDir.toAbsolutePath());
    this.volumes = new Volumes(Files.createDirectories(runsDir.toAbsolutePath()));
    this.network = new PodNetwork(this.stateDir.resolve("hosts"));
    this.events = new PodEvents(registry, api.catalog().core("events"));
    register();
    this.loop = Thread.ofVirtual().name("node").start(this::run);
  }

  /** The folders that stand for volumes. */
  public Volumes volumes() {
    return volumes;
  }

  /** Where logs come from. */
  public PodLogs logs() {
    return new ContainerLogs(this);
  }

  Programs programs() {
    return programs;
  }

  PodNetwork network() {
    return network;
  }

  PodEvents events() {
    return events;
  }

  /** The processes that run a pod's program now: those that a kill -9 would hit. */
  public List<ProcessHandle> processesOf(String namespace, String pod) {
    ObjectNode found = store.get(Registry.key(pods, namespace, pod));
    PodWorker worker = found == null ? null : workers.get(uid(found));
    PodProcess process = worker == null ? null : worker.process();
    return process == null ? List.of() : process.programs();
  }

  private void register() {
    ObjectNode node = Json.object();
    Json.metadata(node)
        .put("name", NAME)
        .putObject("labels")
        .put("kubernetes.io/hostname", NAME)
        .put("kubernetes.io/os", "linux")
        .put("kubernetes.io/arch", System.getProperty("os.arch").replace("aarch64", "arm64"));
    registry.create(nodes, "", node, KUBELET);
    var system =
        (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    registry.update(
        nodes,
        "",
        NAME,
        "status",
        live -> {
          ObjectNode status = Json.child(live, "status");
          for (String kind : List.of("capacity", "allocatable")) {
            status
                .putObject(kind)
                .put("cpu", Integer.toString(Runtime.getRuntime().availableProcessors()))
                .put("memory", system.getTotalMemorySize() / 1024 + "Ki")
                .put("pods", "250");
          }
          status.putObject("nodeInfo").put("kubeletVersion", "v1.33.0+perigee");
          String now = ContainerState.time(Instant.now());
          PodReport.condition(status, "Ready", true, "KubeletReady", now);
          return live;
        },
        KUBELET);
  }

  private void run() {
    long seen = 0;
    try {
      while (!store.closed()) {
        List<Change> changes = store.changesAfter(seen, "", 60_000);
        for (Change change : changes) {
          seen = change.revision();
          try {
            observe(change);
          } catch (ApiError e) {
            LOG.log(Level.FINE, e, () -> "another write came before ours");
          } catch (RuntimeException e) {
            // One object must not end the node for all others.
            LOG.log(Level.WARNING, e, () -> "the node passes over " + change.key());
          }
        }
        if (!changes.isEmpty()) {
          schedule();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void observe(Change change) {
    String resource = change.key().resource();
    if (resource.equals(pods.storageName())) {
      observePod(change);
    } else if (resource.equals(claims.storageName()) && change.type() == ChangeType.ADDED) {
      bind(change.key().namespace(), change.key().name());
    } else if (resource.equals("configmaps") && change.type() != ChangeType.DELETED) {
      for (ObjectNode pod : store.list(pods.storageName(), change.key().namespace()).objects()) {
        PodWorker worker = workers.get(uid(pod));
        if (worker != null) {
          refresh(worker, pod);
        }
      }
    }
  }

  private void refresh(PodWorker worker, ObjectNode pod) {
    try {
      worker.files().refresh(pod);
    } catch (IOException e) {
      events.warning(pod, "kubelet", "FailedMount", String.valueOf(e.getMessage()));
    }
  }

  private void observePod(Change change) {
    ObjectNode pod = change.object();
    PodWorker worker = workers.get(uid(pod));
    if (change.type() == ChangeType.DELETED) {
      if (worker != null) {
        worker.kill();
      } else {
        unmount(filesOf(pod));
      }
      return;
    }
    boolean ours = Json.text(pod, "spec", "nodeName").equals(NAME);
    boolean leaving = Json.at(pod, "metadata").has("deletionTimestamp");
    if (leaving && worker != null) {
      worker.stop(Json.at(pod, "metadata", "deletionGracePeriodSeconds").asLong(0));
    } else if (leaving && ours && worker == null) {
      finish(pod);
    } else if (ours && worker == null && !ended(pod)) {
      begin(pod);
    }
  }

  private static boolean ended(ObjectNode pod) {
    String phase = Json.text(pod, "status", "phase");
    return phase.equals("Succeeded") || phase.equals("Failed");
  }

  private void begin(ObjectNode pod) {
    // A change may be seen late; the pod may have gone or ended since.
    ObjectNode live = current(pod);
    if (live == null || ended(live)) {
      return;
    }
    PodWorker worker = new PodWorker(this, live, filesOf(live));
    workers.put(uid(live), worker);
    Thread thread =
        Thread.ofVirtual()
            .name("pod-" + Json.text(live, "metadata", "name"))
            .start(() -> work(worker, live));
    synchronized (threads) {
      threads.removeIf(t -> !t.isAlive());
      threads.add(thread);
    }
  }

  private void work(PodWorker worker, ObjectNode pod) {
    try {
      worker.run();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (RuntimeException e) {
      LOG.log(Level.SEVERE, e, () -> "running pod " + Json.text(pod, "metadata", "name"));
    } finally {
      workers.remove(uid(pod));
      ObjectNode live = current(pod);
      if (live == null) {
        unmount(worker.files());
      } else if (Json.at(live, "metadata").has("deletionTimestamp")) {
        finish(live);
      }
    }
  }

  /** The pod as it is now, null when it is gone. */
  private ObjectNode current(ObjectNode pod) {
    ObjectNode live =
        store.get(
            Registry.key(
                pods, Json.text(pod, "metadata", "namespace"), Json.text(pod, "metadata", "name")));
    return live != null && uid(live).equals(uid(pod)) ? live : null;
  }

  /** Tells the API that nothing of a deleted pod is left. */
  private void finish(ObjectNode pod) {
    try {
      registry.delete(
          pods,
          Json.text(pod, "metadata", "namespace"),
          Json.text(pod, "metadata", "name"),
          new Deletion(Propagation.Background, 0, uid(pod), ""),
          false);
    } catch (ApiError e) {
      LOG.log(Level.FINE, e, () -> "the pod was gone already");
    }
  }

  private static void unmount(PodFiles files) {
    try {
      files.unmount();
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> "folders of a pod stay behind");
    }
  }

  private void schedule() {
    List<ObjectNode> all = store.list(pods.storageName(), "").objects();
    List<ObjectNode> running =
        new ArrayList<>(
            all.stream()
                .filter(p -> Json.text(p, "spec", "nodeName").equals(NAME) && !ended(p))
                .toList());
    ObjectNode node = registry.get(nodes, "", NAME);
    for (ObjectNode pod : all) {
      boolean waiting =
          Json.text(pod, "spec", "nodeName").isEmpty()
              && Json.at(pod, "spec", "schedulingGates").isEmpty()
              && !Json.at(pod, "metadata").has("deletionTimestamp");
      if (waiting) {
        try {
          Optional<String> obstacle = Scheduler.obstacle(pod, node, running);
          if (obstacle.isPresent()) {
            unschedulable(pod, obstacle.get());
          } else {
            running.add(pod);
            bindPod(pod);
          }
        } catch (ApiError e) {
          LOG.log(Level.FINE, e, () -> "the pod went while it was scheduled");
        } catch (RuntimeException e) {
          LOG.log(Level.WARNING, e, () -> "cannot schedule " + Json.text(pod, "metadata", "name"));
        }
      }
    }
  }

  private void bindPod(ObjectNode pod) {
    String name = Json.text(pod, "metadata", "name");
    registry.update(
        pods,
        Json.text(pod, "metadata", "namespace"),
        name,
        "binding",
        live -> {
          Json.child(live, "spec").put("nodeName", NAME);
          return live;
        },
        Write.by("kube-scheduler"));
    events.normal(
        pod, "default-scheduler", "Scheduled", "Successfully assigned " + name + " to " + NAME);
  }

  private void unschedulable(ObjectNode pod, String why) {
    for (JsonNode condition : Json.at(pod, "status", "conditions")) {
      if (Json.text(condition, "message").equals(why)) {
        return;
      }
    }
    updateStatus(
        pod,
        live -> {
          ObjectNode status = Json.child(live, "status");
          String now = ContainerState.time(Instant.now());
          PodReport.condition(status, "PodScheduled", false, "Unschedulable", now);
          status
              .path("conditions")
              .forEach(
                  c -> {
                    if (Json.text(c, "type").equals("PodScheduled")) {
                      ((ObjectNode) c).put("message", why);
                    }
                  });
          return live;
        });
    events.warning(pod, "default-scheduler", "FailedScheduling", why);
  }

  private void bind(String namespace, String name) {
    registry.update(
        claims,
        namespace,
        name,
        "",
        claim -> {
          Json.child(claim, "spec").put("volumeName", namespace + "-" + name);
          return claim;
        },
        Write.by("perigee-volumes"));
    registry.update(
        claims,
        namespace,
        name,
        "status",
        claim -> {
          ObjectNode status = Json.child(claim, "status").put("phase", "Bound");
          status.set("accessModes", Json.at(claim, "spec", "accessModes").deepCopy());
          status
              .putObject("capacity")
              .put("storage", Json.text(claim, "spec", "resources", "requests", "storage"));
          return claim;
        },
        Write.by("perigee-volumes"));
  }

  /** Looks up what a pod's volumes and variables refer to, in its namespace. */
  BiFunction<String, String, ObjectNode> objectsOf(JsonNode pod) {
    String namespace = Json.text(pod, "metadata", "namespace");
    return (plural, name) -> store.get(Registry.key(sources.get(plural), namespace, name));
  }

  PodFiles filesOf(JsonNode pod) {
    String namespace = Json.text(pod, "metadata", "namespace");
    String log = namespace + "_" + Json.text(pod, "metadata", "name") + "_" + uid(pod);
    return new PodFiles(
        stateDir.resolve("pods").resolve(uid(pod)),
        stateDir.resolve("logs").resolve(log),
        volumes,
        namespace,
        objectsOf(pod));
  }

  /** Whether a process of a pod runs. */
  boolean isRunning(JsonNode pod) {
    PodWorker worker = workers.get(uid(pod));
    PodProcess process = worker == null ? null : worker.process();
    return process != null && !process.onExit().isDone();
  }

  /**
   * Changes the status of a pod.
   *
   * @throws ApiError 404 when it is gone, or another of its name is there
   */
  void updateStatus(JsonNode pod, UnaryOperator<ObjectNode> change) {
    String name = Json.text(pod, "metadata", "name");
    registry.update(
        pods,
        Json.text(pod, "metadata", "namespace"),
        name,
        "status",
        live -> {
          if (!uid(live).equals(uid(pod))) {
            throw ApiError.notFound(pods, name);
          }
          return change.apply(live);
        },
        KUBELET);
  }

  private static String uid(JsonNode object) {
    return Json.text(object, "metadata", "uid");
  }

  /**
   * Asks every pod to end (SIGTERM) and waits for them.
   *
   * @param grace after which they are killed
   */
  public void drain(Duration grace) throws InterruptedException {
    workers.values().forEach(worker -> worker.stop(grace.toSeconds()));
    List<Thread> ending;
    synchronized (threads) {
      ending = List.copyOf(threads);
    }
    Instant end = Instant.now().plus(grace).plusSeconds(2);
    for (Thread thread : ending) {
      Duration left = Duration.between(Instant.now(), end);
      if (left.isPositive()) {
        thread.join(left);
      }
    }
  }

  @Override
  public void close() {
    loop.interrupt();
    workers.values().forEach(PodWorker::kill);
    volumes.close();
    try {
      network.close();
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> "closing the pods' network");
    }
  }
}
