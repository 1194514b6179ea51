package dev.perigee.engine.parallel;

import dev.perigee.run.Mesh;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.net.InetAddress;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import java.util.stream.IntStream;

/**
 * What connects the ranks of a job, as one pod holds it: its own ranks are threads of this JVM, the
 * others are behind one TCP connection for each pod. When a pod is lost, or a rank fails, every
 * pending and every later operation on every rank of every pod throws {@link LostPeerException}.
 *
 * <p>Threads of ranks must not be interrupted: the JDK closes a socket under an interrupted thread.
 */
public final class Fabric implements Fellowship, AutoCloseable {
  private final RankMap map;
  private final RankMap.Pod pod;
  private final Alarm alarm = new Alarm();
  private final Map<Integer, PeerLink> links = new TreeMap<>();
  private final Map<GroupKey, Group> groups = new ConcurrentHashMap<>();

  /** The same ranks may work together for several purposes at once. */
  private record GroupKey(List<Integer> ranks, String purpose) {}

  private Fabric(RankMap map, int pod) {
    this.map = map;
    this.pod = map.pods().get(pod);
  }

  /** All ranks in this JVM. */
  public static Fabric local(int world) {
    List<Integer> ranks = IntStream.range(0, world).boxed().toList();
    return new Fabric(new RankMap(0, List.of(new RankMap.Pod(0, "localhost", null, ranks))), 0);
  }

  /**
   * Meets the other pods of a gang. Peers are looked up by name again and again until they answer,
   * by the rank map's {@code ip} when the name is not known.
   *
   * @param job name of the job, {@code namespace/name}
   * @param digest of the run configuration; all pods must have the same
   * @param map who is where
   * @param podIndex this pod
   * @param network peer port and patience
   * @param address where to listen
   * @throws LostPeerException when a peer has not come within {@code rendezvousSeconds}
   * @throws PeerMismatchException when a peer works on something else
   * @throws java.net.BindException when the port is taken
   * @throws IllegalArgumentException when the rank map is not one
   */
  public static Fabric connect(
      String job,
      String digest,
      RankMap map,
      int podIndex,
      RunConfig.Network network,
      InetAddress address)
      throws IOException {
    return connect(job, digest, map, podIndex, network, address, pod -> Optional.empty());
  }

  /**
   * Where a pod is, as far as is known by now.
   *
   * @see #connect(String, String, RankMap, int, RunConfig.Network, InetAddress, Addresses)
   */
  @FunctionalInterface
  public interface Addresses {
    /** The IP address of the pod with that index, empty when it is not known yet. */
    Optional<String> of(int podIndex);
  }

  /**
   * Meets the other pods of a gang, by addresses that become known on the way where names are not.
   *
   * @param addresses is asked whenever a peer's name is not known and the rank map has no {@code
   *     ip} for it
   */
  public static Fabric connect(
      String job,
      String digest,
      RankMap map,
      int podIndex,
      RunConfig.Network network,
      InetAddress address,
      Addresses addresses)
      throws IOException {
    check(map, podIndex);
    Fabric fabric = new Fabric(map, podIndex);
    if (map.pods().size() > 1) {
      Hello self = new Hello(job, map.generation(), map.pods().size(), podIndex, digest);
      try {
        fabric.links.putAll(
            new Rendezvous(map, self, address, network, fabric.alarm, addresses).meet());
      } catch (LostPeerException | PeerMismatchException e) {
        fabric.abort("pod " + podIndex + " did not find its peers: " + e.getMessage());
        throw e;
      }
    }
    return fabric;
  }

  private static void check(RankMap map, int podIndex) {
    if (podIndex < 0 || podIndex >= map.pods().size()) {
      throw new IllegalArgumentException(
          "ranks.json: pod index " + podIndex + " of a map of " + map.pods().size() + " pods");
    }
    Set<Integer> ranks = new HashSet<>();
    for (int i = 0; i < map.pods().size(); i++) {
      RankMap.Pod pod = map.pods().get(i);
      if (pod.index() != i || pod.name() == null || pod.ranks() == null || pod.ranks().isEmpty()) {
        throw new IllegalArgumentException(
            "ranks.json: pods[" + i + "] is " + pod + "; expected index " + i + ", name and ranks");
      }
      ranks.addAll(pod.ranks());
    }
    int listed = map.pods().stream().mapToInt(p -> p.ranks().size()).sum();
    for (int rank = 0; rank < listed; rank++) {
      if (!ranks.contains(rank)) {
        throw new IllegalArgumentException(
            "ranks.json: rank " + rank + " of " + listed + " is in no pod, or one is in two");
      }
    }
  }

  /** Index of this pod. */
  public int pod() {
    return pod.index();
  }

  /** Global ranks in this pod, ascending. */
  public List<Integer> ranks() {
    return pod.ranks();
  }

  /** All ranks of the job. */
  public int world() {
    return map.pods().stream().mapToInt(p -> p.ranks().size()).sum();
  }

  /**
   * The operations of one group as one of its ranks calls them. What is returned is for the thread
   * of that rank; every rank of the group must make the same calls on its own.
   *
   * @param rank a rank of this pod
   * @param ranks global ranks of the group in their order, {@code rank} among them
   */
  public Collectives collectives(int rank, List<Integer> ranks) {
    return collectives(rank, ranks, "");
  }

  /**
   * The operations of one group for one purpose. Those of different purposes may go on at the same
   * time, each called by one thread at a time.
   *
   * @param purpose a name, the same on every rank of the group
   */
  public Collectives collectives(int rank, List<Integer> ranks, String purpose) {
    int index = ranks.indexOf(rank);
    if (index < 0 || !pod.ranks().contains(rank)) {
      throw new IllegalArgumentException(
          "rank " + rank + " of " + Rendezvous.describe(pod) + " in the group " + ranks);
    }
    if (ranks.size() == 1) {
      return Collectives.solo();
    }
    return new GroupCollectives(group(ranks, purpose), index);
  }

  /** What the ranks of this pod share of a group. */
  Group group(List<Integer> ranks, String purpose) {
    return groups.computeIfAbsent(
        new GroupKey(List.copyOf(ranks), purpose),
        key ->
            new Group(
                key.ranks,
                key.purpose,
                key.ranks.stream().mapToInt(r -> map.podOf(r).index()).toArray(),
                pod.index(),
                links,
                alarm));
  }

  /** The groups that a rank of a mesh works in. */
  public Groups groups(Mesh mesh, int rank) {
    return new Groups(
        collectives(rank, mesh.dataGroup(rank)),
        collectives(rank, mesh.expertGroup(rank), "experts"),
        collectives(rank, mesh.dataGroup(rank), "gradients"),
        collectives(rank, mesh.expertReplicaGroup(rank), "gradients"),
        collectives(rank, mesh.pipelineGroup(rank), "stages"),
        collectives(rank, mesh.ranks(), "world"));
  }

  /**
   * The groups that a rank works in.
   *
   * @param data ranks that hold the same dense weights
   * @param expert ranks that share one copy of the experts between them
   * @param dense the data group once more, for the optimizer, which exchanges dense gradients and
   *     weights beside what the rank does in the others
   * @param replica ranks that hold the same experts, for the optimizer likewise
   * @param pipeline ranks that work on the same share of the batch, by stage
   * @param world all ranks
   */
  public record Groups(
      Collectives data,
      Collectives expert,
      Collectives dense,
      Collectives replica,
      Collectives pipeline,
      Collectives world) {
    /** The same for tensors in a device's memory, which travel through the host's. */
    public Groups staged() {
      return new Groups(
          new StagedCollectives(data),
          new StagedCollectives(expert),
          new StagedCollectives(dense),
          new StagedCollectives(replica),
          new StagedCollectives(pipeline),
          new StagedCollectives(world));
    }

    /** The groups of a single rank. */
    public static final Groups SOLO =
        new Groups(
            Collectives.solo(),
            Collectives.solo(),
            Collectives.solo(),
            Collectives.solo(),
            Collectives.solo(),
            Collectives.solo());
  }

  /** What one rank does. */
  @FunctionalInterface
  public interface RankTask<T> {
    /** Runs on the thread of that rank. */
    T run(int rank) throws Exception;
  }

  /**
   * Runs a task on one platform thread for each rank of this pod and returns their results in the
   * order of {@link #ranks()}. When one fails, the others are freed from what they wait for.
   *
   * @throws Exception what the first rank that failed threw
   */
  public <T> List<T> run(RankTask<T> task) throws Exception {
    List<T> results = new ArrayList<>();
    List<Thread> threads = new ArrayList<>();
    List<Throwable> failures = new ArrayList<>();
    for (int i = 0; i < ranks().size(); i++) {
      int place = i;
      int rank = ranks().get(i);
      results.add(null);
      threads.add(
          Thread.ofPlatform()
              .name("rank " + rank)
              .start(
                  () -> {
                    try {
                      T result = task.run(rank);
                      synchronized (results) {
                        results.set(place, result);
                      }
                    } catch (Throwable e) {
                      synchronized (results) {
                        failures.add(e);
                      }
                      abort("rank " + rank + " failed: " + e);
                    }
                  }));
    }
    for (Thread thread : threads) {
      thread.join();
    }
    synchronized (results) {
      if (failures.isEmpty()) {
        return results;
      }
      Throwable first = failures.removeFirst();
      failures.forEach(first::addSuppressed);
      switch (first) {
        case Exception e -> throw e;
        case Error e -> throw e;
        default -> throw new IllegalStateException(first);
      }
    }
  }

  /** {@inheritDoc} Here and in the other pods. */
  @Override
  public void abort(String reason) {
    alarm.ring(reason);
  }

  /** Connections to the other pods. */
  Iterable<PeerLink> links() {
    return links.values();
  }

  @Override
  public Optional<String> failure() {
    return Optional.ofNullable(alarm.reason());
  }

  @Override
  public void whenEnded(Consumer<String> told) {
    alarm.whenRung(() -> told.accept(alarm.reason()));
  }

  /** Says goodbye to the other pods, so that the end of this one is no loss to them. */
  @Override
  public void close() {
    List<Thread> goodbyes = new ArrayList<>();
    for (PeerLink link : links.values()) {
      goodbyes.add(Thread.ofVirtual().start(link::close));
    }
    try {
      for (Thread goodbye : goodbyes) {
        goodbye.join();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
