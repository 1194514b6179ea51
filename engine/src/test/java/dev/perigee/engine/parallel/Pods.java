package dev.perigee.engine.parallel;

import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Pods of a gang, all in this JVM but joined by TCP: pod i listens on 127.0.77.(i + 1). */
public final class Pods implements AutoCloseable {
  /** Short patience for tests: a silent peer is lost after two seconds. */
  public static final int PEER_SECONDS = 2;

  private final List<Fabric> fabrics;

  private Pods(List<Fabric> fabrics) {
    this.fabrics = fabrics;
  }

  /** Connects pods with the given ranks each. */
  public static Pods connect(List<List<Integer>> ranks) throws Exception {
    RankMap map = map(ranks);
    int port = freePort();
    List<Callable<Fabric>> calls = new ArrayList<>();
    for (int i = 0; i < ranks.size(); i++) {
      int pod = i;
      calls.add(() -> connect(map, pod, port));
    }
    return new Pods(all(calls));
  }

  /** Pods of equally many consecutive ranks. */
  public static Pods connect(int pods, int ranksPerPod) throws Exception {
    List<List<Integer>> ranks = new ArrayList<>();
    for (int pod = 0; pod < pods; pod++) {
      List<Integer> mine = new ArrayList<>();
      for (int i = 0; i < ranksPerPod; i++) {
        mine.add(pod * ranksPerPod + i);
      }
      ranks.add(mine);
    }
    return connect(ranks);
  }

  static Fabric connect(RankMap map, int pod, int port) throws IOException {
    return Fabric.connect("test/job", "digest", map, pod, network(port), address(pod));
  }

  static RunConfig.Network network(int port) {
    return new RunConfig.Network(8080, port, 10, PEER_SECONDS);
  }

  static RankMap map(List<List<Integer>> ranks) {
    List<RankMap.Pod> pods = new ArrayList<>();
    for (int i = 0; i < ranks.size(); i++) {
      pods.add(new RankMap.Pod(i, address(i).getHostAddress(), null, ranks.get(i)));
    }
    return new RankMap(1, pods);
  }

  static InetAddress address(int pod) {
    try {
      return InetAddress.getByName("127.0.77." + (pod + 1));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, address(0))) {
      return socket.getLocalPort();
    }
  }

  List<Fabric> fabrics() {
    return fabrics;
  }

  /** Runs a task on every rank of every pod; results in the order of the ranks. */
  public <T> List<T> run(Task<T> task) throws Exception {
    List<Callable<List<T>>> calls = new ArrayList<>();
    for (Fabric fabric : fabrics) {
      calls.add(() -> fabric.run(rank -> task.run(fabric, rank)));
    }
    List<List<T>> perPod = all(calls);
    List<T> results = new ArrayList<>();
    int world = fabrics.getFirst().world();
    for (int rank = 0; rank < world; rank++) {
      for (int pod = 0; pod < fabrics.size(); pod++) {
        int place = fabrics.get(pod).ranks().indexOf(rank);
        if (place >= 0) {
          results.add(perPod.get(pod).get(place));
        }
      }
    }
    return results;
  }

  /** What one rank of one pod does. */
  @FunctionalInterface
  public interface Task<T> {
    /** Runs on the thread of that rank. */
    T run(Fabric fabric, int rank) throws Exception;
  }

  /** Runs calls at the same time; throws the first failure. */
  static <T> List<T> all(List<Callable<T>> calls) throws Exception {
    try (ExecutorService threads = Executors.newThreadPerTaskExecutor(Thread::new)) {
      List<T> results = new ArrayList<>();
      for (Future<T> future : threads.invokeAll(calls, 120, TimeUnit.SECONDS)) {
        try {
          results.add(future.get());
        } catch (ExecutionException e) {
          if (e.getCause() instanceof Exception cause) {
            throw cause;
          }
          throw e;
        }
      }
      return results;
    }
  }

  @Override
  public void close() {
    List<Thread> threads =
        fabrics.stream().map(fabric -> Thread.ofPlatform().start(fabric::close)).toList();
    try {
      for (Thread thread : threads) {
        thread.join();
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
