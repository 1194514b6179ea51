package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.ApiServer;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.ObjectStore;
import dev.perigee.cli.cluster.api.ObjectStore.Change;
import dev.perigee.cli.cluster.api.ObjectStore.ChangeType;
import dev.perigee.cli.cluster.api.PodLogs;
import dev.perigee.cli.cluster.api.Registry;
import dev.perigee.cli.cluster.api.ResourceType;
import dev.perigee.cli.cluster.api.Write;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiFunction;
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

  /** Who writes what a kubelet would. */
  static final Write KUBELET = Write.by("kubelet");

  private final ObjectStore store;
  private final ResourceType claims;
  private final Map<String, ResourceType> sources;
  private final Programs programs;
  private final Path stateDir;
  private final Volumes volumes;
  private final PodNetwork network;
  private final PodEvents events;
  private final PodObjects pods;
  private final PodBinder podBinder;
  private final ClaimBinder claimBinder;
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
    this.claims = api.catalog().core("persistentvolumeclaims");
    this.sources =
        Map.of(
            "configmaps", api.catalog().core("configmaps"),
            "secrets", api.catalog().core("secrets"),
            "persistentvolumeclaims", claims);
    this.programs = programs;
    this.stateDir = Files.createDirectories(stateDir.toAbsolutePath());
    this.volumes = new Volumes(Files.createDirectories(runsDir.toAbsolutePath()));
    this.network = new PodNetwork(this.stateDir.resolve("hosts"));
    Registry registry = api.registry();
    ResourceType nodes = api.catalog().core("nodes");
    this.events = new PodEvents(registry, api.catalog().core("events"));
    this.pods = new PodObjects(api);
    this.podBinder = new PodBinder(registry, nodes, pods, events);
    this.claimBinder = new ClaimBinder(registry, claims);
    NodeObject.register(registry, nodes);
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

  PodObjects pods() {
    return pods;
  }

  /** The processes that run a pod's program now: those that a kill -9 would hit. */
  public List<ProcessHandle> processesOf(String namespace, String pod) {
    ObjectNode found = pods.get(namespace, pod);
    PodWorker worker = found == null ? null : workers.get(PodObjects.uid(found));
    PodProcess process = worker == null ? null : worker.process();
    return process == null ? List.of() : process.programs();
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
          podBinder.schedule();
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
      claimBinder.bind(change.key().namespace(), change.key().name());
    } else if (resource.equals("configmaps") && change.type() != ChangeType.DELETED) {
      for (ObjectNode pod : pods.list(change.key().namespace())) {
        PodWorker worker = workers.get(PodObjects.uid(pod));
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
    PodWorker worker = workers.get(PodObjects.uid(pod));
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
      pods.finish(pod);
    } else if (ours && worker == null && !PodObjects.ended(pod)) {
      begin(pod);
    }
  }

  private void begin(ObjectNode pod) {
    // A change may be seen late; the pod may have gone or ended since.
    ObjectNode live = pods.current(pod);
    if (live == null || PodObjects.ended(live)) {
      return;
    }
    PodWorker worker = new PodWorker(this, live, filesOf(live));
    workers.put(PodObjects.uid(live), worker);
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
      workers.remove(PodObjects.uid(pod));
      ObjectNode live = pods.current(pod);
      if (live == null) {
        unmount(worker.files());
      } else if (Json.at(live, "metadata").has("deletionTimestamp")) {
        pods.finish(live);
      }
    }
  }

  private static void unmount(PodFiles files) {
    try {
      files.unmount();
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> "folders of a pod stay behind");
    }
  }

  /** Looks up what a pod's volumes and variables refer to, in its namespace. */
  BiFunction<String, String, ObjectNode> objectsOf(JsonNode pod) {
    String namespace = Json.text(pod, "metadata", "namespace");
    return (plural, name) -> store.get(Registry.key(sources.get(plural), namespace, name));
  }

  PodFiles filesOf(JsonNode pod) {
    String namespace = Json.text(pod, "metadata", "namespace");
    String log = namespace + "_" + Json.text(pod, "metadata", "name") + "_" + PodObjects.uid(pod);
    return new PodFiles(
        stateDir.resolve("pods").resolve(PodObjects.uid(pod)),
        stateDir.resolve("logs").resolve(log),
        volumes,
        namespace,
        objectsOf(pod));
  }

  /** Whether a process of a pod runs. */
  boolean isRunning(JsonNode pod) {
    PodWorker worker = workers.get(PodObjects.uid(pod));
    PodProcess process = worker == null ? null : worker.process();
    return process != null && !process.onExit().isDone();
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
