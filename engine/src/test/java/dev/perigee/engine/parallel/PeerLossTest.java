package dev.perigee.engine.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Peers that never come, go, fall silent or talk nonsense: no rank may hang. */
@Timeout(60)
final class PeerLossTest {
  private static final double LIMIT_SECONDS = 10;

  /**
   * Runs collectives for ever on every rank of some pods of a gang of two ranks each, until each
   * rank ends; asserts that each ends with the loss of a peer, and soon.
   */
  private static void assertEveryRankLosesItsPeer(
      List<Fabric> survivors, int world, Runnable trouble, String expected) throws Exception {
    List<Integer> group = java.util.stream.IntStream.range(0, world).boxed().toList();
    List<CompletableFuture<Throwable>> ends = new ArrayList<>();
    for (Fabric fabric : survivors) {
      for (int rank : fabric.ranks()) {
        ends.add(inBackground(() -> catchThrowable(() -> reduceForEver(fabric, rank, group))));
      }
    }
    Thread.sleep(300);
    long started = System.nanoTime();
    trouble.run();
    for (CompletableFuture<Throwable> end : ends) {
      assertThat(end.get()).isInstanceOf(LostPeerException.class).hasMessageContaining(expected);
    }
    assertThat((System.nanoTime() - started) / 1e9).isLessThan(LIMIT_SECONDS);
    for (Fabric fabric : survivors) {
      long later = System.nanoTime();
      Collectives c = fabric.collectives(fabric.ranks().getFirst(), group);
      assertThatThrownBy(c::barrier).as("later").isInstanceOf(LostPeerException.class);
      fabric.close();
      assertThat((System.nanoTime() - later) / 1e9).isLessThan(3);
    }
  }

  private static void reduceForEver(Fabric fabric, int rank, List<Integer> group) {
    Collectives c = fabric.collectives(rank, group);
    Tensor x = Tensor.zeros(1 << 20);
    while (true) {
      c.allReduceSum(x);
    }
  }

  /** A peer that shakes hands like pod {@code pod} of {@link Pods} and then does as it is told. */
  private static final class Puppet implements AutoCloseable {
    private final Socket socket;
    private final DataOutputStream out;

    Puppet(RankMap map, int pod, int port) throws Exception {
      long deadline = System.nanoTime() + 5_000_000_000L;
      Socket connected = null;
      while (connected == null) {
        try {
          connected = new Socket(Pods.address(0), port);
        } catch (IOException e) {
          assertThat(System.nanoTime()).isLessThan(deadline);
          Thread.sleep(20);
        }
      }
      socket = connected;
      out = new DataOutputStream(connected.getOutputStream());
      new Hello("test/job", map.generation(), map.pods().size(), pod, "digest").write(out);
      DataInputStream in = new DataInputStream(connected.getInputStream());
      assertThat(in.readByte()).isEqualTo((byte) 1);
      Hello.read(in);
      out.writeByte(1);
      out.flush();
    }

    void send(byte[] bytes) {
      try {
        out.write(bytes);
        out.flush();
      } catch (IOException e) {
        throw new IllegalStateException(e);
      }
    }

    void leave() {
      try {
        socket.close();
      } catch (IOException e) {
        throw new IllegalStateException(e);
      }
    }

    @Override
    public void close() {
      leave();
    }
  }

  private static final List<List<Integer>> TWO_PODS = List.of(List.of(0, 1), List.of(2, 3));

  private static CompletableFuture<Fabric> podZero(RankMap map, int port) {
    return inBackground(() -> Pods.connect(map, 0, port));
  }

  private static <T> CompletableFuture<T> inBackground(Callable<T> call) {
    CompletableFuture<T> result = new CompletableFuture<>();
    Thread.ofPlatform()
        .start(
            () -> {
              try {
                result.complete(call.call());
              } catch (Throwable e) {
                result.completeExceptionally(e);
              }
            });
    return result;
  }

  private static byte[] header(int magic, int kind, int length) {
    return ByteBuffer.allocate(Frame.HEADER_BYTES)
        .order(ByteOrder.LITTLE_ENDIAN)
        .putInt(magic)
        .putInt(kind)
        .putLong(0)
        .putLong(0)
        .putInt(0)
        .putInt(length)
        .array();
  }

  @Test
  void aPeerThatFallsSilentIsLost() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    CompletableFuture<Fabric> pod = podZero(map, port);
    // Neither reads nor writes, as a stopped process: pod 0 soon blocks in its writes.
    try (Puppet silent = new Puppet(map, 1, port)) {
      assertEveryRankLosesItsPeer(List.of(pod.get()), 4, () -> {}, "silent for");
      assertThat(silent.socket.isClosed()).isFalse();
    }
  }

  @Test
  void aPeerThatClosesItsConnectionIsLost() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    CompletableFuture<Fabric> pod = podZero(map, port);
    try (Puppet leaves = new Puppet(map, 1, port)) {
      assertEveryRankLosesItsPeer(
          List.of(pod.get()), 4, leaves::leave, "pod 1 (127.0.77.2) is lost");
    }
  }

  @Test
  void aPeerThatGoesInTheMiddleOfATransferIsLost() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    CompletableFuture<Fabric> pod = podZero(map, port);
    try (Puppet half = new Puppet(map, 1, port)) {
      assertEveryRankLosesItsPeer(
          List.of(pod.get()),
          4,
          () -> {
            half.send(header(0x50474631, 'D', 1000));
            half.send(new byte[10]);
            half.leave();
          },
          "pod 1");
    }
  }

  @Test
  void aHugeLengthIsRefusedWithoutMemoryForIt() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    CompletableFuture<Fabric> pod = podZero(map, port);
    try (Puppet greedy = new Puppet(map, 1, port)) {
      assertEveryRankLosesItsPeer(
          List.of(pod.get()),
          4,
          () -> greedy.send(header(0x50474631, 'D', Integer.MAX_VALUE)),
          "claims 2147483647 bytes");
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 0x50474631})
  void aFrameThatIsNoneIsRefused(int magic) throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    CompletableFuture<Fabric> pod = podZero(map, port);
    try (Puppet garbled = new Puppet(map, 1, port)) {
      assertEveryRankLosesItsPeer(
          List.of(pod.get()),
          4,
          () -> garbled.send(header(magic, 77, 0)),
          magic == 0 ? "begins with 00000000" : "unknown kind 77");
    }
  }

  @Test
  void aRankThatFailsEndsEveryRankOfEveryPod() throws Exception {
    Pods pods = Pods.connect(3, 2);
    assertEveryRankLosesItsPeer(
        pods.fabrics().subList(1, 3),
        6,
        () -> pods.fabrics().getFirst().abort("rank 0 failed: for a test"),
        "rank 0 failed: for a test");
  }

  @Test
  void goodbyeIsNoLoss() throws Exception {
    Pods pods = Pods.connect(2, 1);
    Fabric first = pods.fabrics().get(0);
    Fabric second = pods.fabrics().get(1);
    List<Integer> group = List.of(0, 1);
    pods.run(
        (fabric, rank) -> {
          fabric.collectives(rank, group).barrier();
          return null;
        });
    first.close();
    Thread.sleep(2500); // longer than a silent peer is suffered
    assertThat(second.failure()).isEmpty();
    assertThatThrownBy(() -> second.collectives(1, group).barrier())
        .isInstanceOf(LostPeerException.class)
        .hasMessageContaining("has ended its work");
    second.close();
  }

  @Test
  void aBusyPeerThatOnlySendsHeartbeatsIsNotLost() throws Exception {
    try (Pods pods = Pods.connect(2, 1)) {
      Thread.sleep(4000);
      List<Integer> group = List.of(0, 1);
      pods.run(
          (fabric, rank) -> {
            fabric.collectives(rank, group).barrier();
            return null;
          });
    }
  }

  // Rendezvous.

  private static RunConfig.Network patience(int port, int seconds) {
    return new RunConfig.Network(8080, port, seconds, 1);
  }

  @Test
  void aPeerThatNeverComesEndsTheWait() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    for (int pod = 0; pod < 2; pod++) {
      int index = pod;
      long started = System.nanoTime();
      assertThatThrownBy(
              () ->
                  Fabric.connect(
                      "test/job", "digest", map, index, patience(port, 1), Pods.address(index)))
          .isInstanceOf(LostPeerException.class)
          .hasMessageContaining("after 1 s pod " + (1 - pod))
          .hasMessageContaining("is not there");
      assertThat((System.nanoTime() - started) / 1e9).isBetween(0.9, 5.0);
    }
  }

  @Test
  void aPeerThatCameAndWentWhileAnotherIsAwaitedEndsTheWait() throws Exception {
    RankMap map = Pods.map(List.of(List.of(0), List.of(1), List.of(2)));
    int port = Pods.freePort();
    CompletableFuture<Fabric> zero = podZero(map, port);
    long started;
    try (Puppet one = new Puppet(map, 1, port)) {
      started = System.nanoTime();
      one.leave();
    }
    assertThat(catchThrowable(zero::get))
        .hasCauseInstanceOf(LostPeerException.class)
        .hasMessageContaining("pod 1 (127.0.77.2) is lost: it closed the connection");
    assertThat((System.nanoTime() - started) / 1e9).isLessThan(5);
  }

  @Test
  void aPodThatGivesUpTheWaitTellsThoseThatHaveCome() throws Exception {
    RankMap map = Pods.map(List.of(List.of(0), List.of(1), List.of(2)));
    int port = Pods.freePort();
    CompletableFuture<Fabric> zero = podZero(map, port); // would wait for 10 s
    assertThatThrownBy(
            () -> Fabric.connect("test/job", "digest", map, 1, patience(port, 1), Pods.address(1)))
        .isInstanceOf(LostPeerException.class)
        .hasMessageContaining("after 1 s pod 2 (127.0.77.3) is not there");
    long started = System.nanoTime();
    assertThat(catchThrowable(zero::get))
        .hasCauseInstanceOf(LostPeerException.class)
        .hasMessageContaining("pod 1 (127.0.77.2) is lost");
    assertThat((System.nanoTime() - started) / 1e9).isLessThan(5);
  }

  @Test
  void aPeerWithAnotherRunConfigurationIsRefusedOnBothSides() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    List<CompletableFuture<Throwable>> ends = new ArrayList<>();
    for (int pod = 0; pod < 2; pod++) {
      int index = pod;
      ends.add(
          inBackground(
              () ->
                  catchThrowable(
                      () ->
                          Fabric.connect(
                              "test/job",
                              "digest-" + index,
                              map,
                              index,
                              patience(port, 10),
                              Pods.address(index)))));
    }
    for (CompletableFuture<Throwable> end : ends) {
      assertThat(end.get())
          .isInstanceOf(PeerMismatchException.class)
          .hasMessageContaining("digest-0")
          .hasMessageContaining("digest-1")
          .hasMessageContaining("same run.json");
    }
  }

  @Test
  void aPeerOfAnOlderStartOfTheGangIsRefusedAndTheRightOneStillWelcome() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    RankMap older = new RankMap(0, map.pods());
    int port = Pods.freePort();
    CompletableFuture<Fabric> zero = podZero(map, port);
    assertThatThrownBy(() -> Pods.connect(older, 1, port))
        .isInstanceOf(PeerMismatchException.class)
        .hasMessageContaining("start 0");
    Fabric one = Pods.connect(map, 1, port);
    Fabric there = zero.get();
    Thread goodbye = Thread.ofPlatform().start(one::close);
    there.close();
    goodbye.join();
    assertThat(there.failure()).isEmpty();
  }

  @Test
  void aPeerOfANewerStartTriesUntilTheOldOneIsGone() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    RankMap newer = new RankMap(2, map.pods());
    int port = Pods.freePort();
    CompletableFuture<Throwable> old =
        inBackground(
            () ->
                catchThrowable(
                    () ->
                        Fabric.connect(
                            "test/job", "digest", map, 0, patience(port, 2), Pods.address(0))));
    CompletableFuture<Fabric> one = inBackground(() -> Pods.connect(newer, 1, port));
    assertThat(old.get()).isInstanceOf(LostPeerException.class);
    Fabric zero = Pods.connect(newer, 0, port);
    assertThat(one.get().world()).isEqualTo(4);
    Thread goodbye = Thread.ofPlatform().start(zero::close);
    one.get().close();
    goodbye.join();
  }

  /**
   * After a start of the gang, a name can still lead to an address that another pod has got: pod 1,
   * pod 2, or one of another job.
   */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 8})
  void aNameThatStillLeadsToAnotherPodIsTriedAgain(int stale) throws Exception {
    RankMap plain = Pods.map(List.of(List.of(0), List.of(1), List.of(2)));
    List<RankMap.Pod> pods = new ArrayList<>(plain.pods());
    pods.set(0, new RankMap.Pod(0, "[no address]", null, List.of(0)));
    RankMap map = new RankMap(1, pods);
    int port = Pods.freePort();
    long until = System.nanoTime() + 1_500_000_000L;
    Fabric.Addresses addresses =
        _ -> Optional.of(Pods.address(System.nanoTime() < until ? stale : 0).getHostAddress());
    CompletableFuture<Throwable> other =
        inBackground(
            () ->
                catchThrowable(
                    () ->
                        Fabric.connect(
                            "test/other", "x", plain, 0, patience(port, 3), Pods.address(8))));
    List<CompletableFuture<Fabric>> gang = new ArrayList<>();
    for (int pod = 0; pod < 3; pod++) {
      int index = pod;
      gang.add(
          inBackground(
              () ->
                  Fabric.connect(
                      "test/job",
                      "digest",
                      map,
                      index,
                      Pods.network(port),
                      Pods.address(index),
                      addresses)));
    }
    List<Thread> goodbyes = new ArrayList<>();
    for (CompletableFuture<Fabric> pod : gang) {
      Fabric there = pod.get();
      assertThat(there.failure()).isEmpty();
      goodbyes.add(Thread.ofPlatform().start(there::close));
    }
    for (Thread goodbye : goodbyes) {
      goodbye.join();
    }
    assertThat(other.get()).isInstanceOf(LostPeerException.class);
  }

  @Test
  void aPeerThatHangsUpInTheGreetingIsSaid() throws Exception {
    int port = Pods.freePort();
    try (ServerSocket rude = new ServerSocket(port, 10, Pods.address(0))) {
      Thread.ofPlatform().daemon().start(() -> hangUp(rude));
      assertThatThrownBy(
              () ->
                  Fabric.connect(
                      "test/job",
                      "digest",
                      Pods.map(TWO_PODS),
                      1,
                      patience(port, 1),
                      Pods.address(1)))
          .isInstanceOf(LostPeerException.class)
          .hasMessageContaining("is not there (it closed the connection)");
    }
  }

  /** On everybody who calls, once they have greeted. */
  private static void hangUp(ServerSocket rude) {
    while (true) {
      try (Socket caller = rude.accept()) {
        caller.getInputStream().readNBytes(42);
      } catch (IOException over) {
        return;
      }
    }
  }

  @Test
  void aPodWithoutMemoryForWhatArrivesSaysSo() throws Exception {
    Alarm alarm = new Alarm();
    try (ServerSocketChannel server = ServerSocketChannel.open();
        SocketChannel here = SocketChannel.open()) {
      server.bind(new InetSocketAddress(Pods.address(0), 0));
      here.connect(server.getLocalAddress());
      PeerLink link =
          new PeerLink(
              here,
              "pod 1",
              alarm,
              Duration.ofSeconds(5),
              bytes -> {
                throw new OutOfMemoryError("for a test");
              });
      try (SocketChannel there = server.accept()) {
        link.start();
        there.write(ByteBuffer.wrap(header(0x50474631, 'D', 8)));
        assertThatThrownBy(() -> link.receive(new Frame.Channel(0, 0), 0, 8, _ -> {}))
            .isInstanceOf(LostPeerException.class)
            .hasMessage(
                "pod 1 is lost: this pod has no memory for what it sends; give it more (for a"
                    + " test)");
        assertThat(alarm.reason()).contains("no memory");
      }
    }
  }

  @Test
  void callersThatTalkNonsenseAreRefusedAndDoNoHarm() throws Exception {
    RankMap map = Pods.map(TWO_PODS);
    int port = Pods.freePort();
    CompletableFuture<Fabric> zero = podZero(map, port);
    for (byte[] nonsense :
        List.of(
            "GET / HTTP/1.1\r\n\r\n".getBytes(StandardCharsets.UTF_8),
            new byte[0],
            // The right magic, then a text that claims two gigabytes.
            ByteBuffer.allocate(24)
                .put("PERIGEE1".getBytes(StandardCharsets.UTF_8))
                .putInt(1)
                .putInt(2)
                .putInt(1)
                .putInt(Integer.MAX_VALUE)
                .array())) {
      try (Socket caller = connect(port)) {
        caller.getOutputStream().write(nonsense);
        caller.shutdownOutput();
        assertThat(endsWithoutAnAnswer(caller)).isTrue();
      }
    }
    Fabric one = Pods.connect(map, 1, port);
    Thread goodbye = Thread.ofPlatform().start(one::close);
    zero.get().close();
    goodbye.join();
  }

  private static boolean endsWithoutAnAnswer(Socket caller) throws IOException {
    try {
      return caller.getInputStream().read() < 0;
    } catch (SocketException reset) {
      return true;
    }
  }

  private static Socket connect(int port) throws Exception {
    for (int attempt = 0; ; attempt++) {
      Socket socket = new Socket();
      try {
        socket.connect(new InetSocketAddress(Pods.address(0), port));
        return socket;
      } catch (IOException e) {
        socket.close();
        if (attempt == 200) {
          throw e;
        }
        Thread.sleep(20);
      }
    }
  }

  @Test
  void aNameThatIsNotKnownYetIsReplacedByTheAddressOfTheRankMap() throws Exception {
    Rendezvous.Names names =
        name -> {
          if (name.equals("demo-1.demo")) {
            throw new UnknownHostException(name);
          }
          return InetAddress.getByName(name);
        };
    RankMap.Pod known = new RankMap.Pod(1, "demo-1.demo", "127.0.77.9", List.of(0));
    Fabric.Addresses none = pod -> Optional.empty();
    assertThat(Rendezvous.resolve(known, names, none).getHostAddress()).isEqualTo("127.0.77.9");
    RankMap.Pod unknown = new RankMap.Pod(1, "demo-1.demo", null, List.of(0));
    assertThatThrownBy(() -> Rendezvous.resolve(unknown, names, none))
        .isInstanceOf(UnknownHostException.class);
    assertThat(
            Rendezvous.resolve(unknown, names, pod -> Optional.of("127.0.77." + pod))
                .getHostAddress())
        .as("what has become known since")
        .isEqualTo("127.0.77.1");
    RankMap.Pod moved = new RankMap.Pod(1, "127.0.77.3", "127.0.77.9", List.of(0));
    assertThat(Rendezvous.resolve(moved, names, none).getHostAddress()).isEqualTo("127.0.77.3");
  }

  @Test
  void aPortInUseIsSaid() throws Exception {
    try (ServerSocket taken = new ServerSocket(0, 1, Pods.address(0))) {
      assertThatThrownBy(() -> Pods.connect(Pods.map(TWO_PODS), 0, taken.getLocalPort()))
          .isInstanceOf(BindException.class)
          .hasMessageContaining("network.peerPort")
          .hasMessageContaining("127.0.77.1:" + taken.getLocalPort());
    }
  }

  @Test
  void aRankMapThatIsNoneIsSaid() {
    RankMap doubled = Pods.map(List.of(List.of(0, 1), List.of(1, 2)));
    assertThatThrownBy(() -> Pods.connect(doubled, 0, 1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("rank 3 of 4 is in no pod");
    assertThatThrownBy(() -> Pods.connect(Pods.map(TWO_PODS), 2, 1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("pod index 2 of a map of 2 pods");
  }
}
