package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Hello.Verdict;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.net.UnknownHostException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * How the pods of a gang find each other. Each pod listens, and calls those with a smaller index
 * until they answer; each pair of pods ends with one connection whose ends have checked each
 * other's {@link Hello}.
 */
final class Rendezvous {
  private static final System.Logger LOG = System.getLogger(Rendezvous.class.getName());

  /** How long one answer of a peer may take. */
  private static final int ANSWER_MILLIS = 5_000;

  private static final int RETRY_MILLIS = 200;
  private static final int SOCKET_BUFFER_BYTES = 1 << 20;

  private static final byte WELCOME = 1;
  private static final byte REFUSED = 2;
  private static final byte LATER = 3;

  private final RankMap map;
  private final Fabric.Addresses addresses;
  private final Hello self;
  private final int port;
  private final InetAddress address;
  private final long deadline;
  private final RunConfig.Network network;
  private final Alarm alarm;

  /** Connections by pod; guarded by itself. They are watched from the start. */
  private final Map<Integer, PeerLink> found = new TreeMap<>();

  /** What was last seen of a pod that is not there yet; guarded by {@link #found}. */
  private final Map<Integer, String> lastSeen = new HashMap<>();

  /** An error that ends the attempt, null while there is none; guarded by {@link #found}. */
  private PeerMismatchException mismatch;

  private boolean over;

  /**
   * A meeting to come.
   *
   * @param alarm is rung when a peer that has come goes again, and when the meeting fails
   * @param addresses of peers whose names are not known
   */
  Rendezvous(
      RankMap map,
      Hello self,
      InetAddress address,
      RunConfig.Network network,
      Alarm alarm,
      Fabric.Addresses addresses) {
    this.addresses = addresses;
    this.map = map;
    this.self = self;
    this.address = address;
    this.port = network.peerPort();
    this.network = network;
    this.alarm = alarm;
    this.deadline = System.nanoTime() + network.rendezvousSeconds() * 1_000_000_000L;
    alarm.whenRung(this::wake);
  }

  private void wake() {
    synchronized (found) {
      found.notifyAll();
    }
  }

  /**
   * Waits for all peers.
   *
   * @return one connection for each other pod
   * @throws LostPeerException when a peer has not come in time, or has gone again
   * @throws PeerMismatchException when one came that works on something else
   * @throws BindException when the port is taken
   */
  Map<Integer, PeerLink> meet() throws IOException {
    ServerSocketChannel server = listen();
    Thread acceptor = Thread.ofVirtual().name("rendezvous accept").start(() -> accept(server));
    try {
      for (RankMap.Pod pod : map.pods()) {
        if (pod.index() < self.pod()) {
          Thread.ofVirtual().name("rendezvous call " + pod.index()).start(() -> call(pod));
        }
      }
      return await();
    } finally {
      server.close();
      joinUninterruptibly(acceptor); // the port is free only when nobody waits on it any more
    }
  }

  private static void joinUninterruptibly(Thread thread) {
    boolean interrupted = false;
    while (true) {
      try {
        thread.join();
        break;
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private ServerSocketChannel listen() throws IOException {
    ServerSocketChannel server = ServerSocketChannel.open();
    try {
      server.setOption(StandardSocketOptions.SO_REUSEADDR, true);
      server.setOption(StandardSocketOptions.SO_RCVBUF, SOCKET_BUFFER_BYTES);
      server.bind(new InetSocketAddress(address, port));
      return server;
    } catch (IOException e) {
      server.close();
      BindException clear =
          new BindException(
              "network.peerPort: cannot listen on "
                  + address.getHostAddress()
                  + ":"
                  + port
                  + " ("
                  + e.getMessage()
                  + "); free the port or choose another");
      clear.initCause(e);
      throw clear;
    }
  }

  private Map<Integer, PeerLink> await() {
    synchronized (found) {
      try {
        while (found.size() < map.pods().size() - 1 && mismatch == null) {
          alarm.check();
          long left = (deadline - System.nanoTime()) / 1_000_000;
          if (left <= 0) {
            throw new LostPeerException(missing());
          }
          found.wait(left);
        }
        if (mismatch != null) {
          throw mismatch;
        }
        return new TreeMap<>(found);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new LostPeerException("interrupted while waiting for the other pods", e);
      } finally {
        over = true;
      }
    }
  }

  private String missing() {
    StringBuilder text =
        new StringBuilder("after ").append(network.rendezvousSeconds()).append(" s");
    for (RankMap.Pod pod : map.pods()) {
      if (pod.index() != self.pod() && !found.containsKey(pod.index())) {
        text.append(text.indexOf(" is ") < 0 ? " " : ", ")
            .append(describe(pod))
            .append(" is not there (")
            .append(lastSeen.getOrDefault(pod.index(), "it never called"))
            .append(')');
      }
    }
    return text.toString();
  }

  private boolean isOver() {
    synchronized (found) {
      return over || mismatch != null || System.nanoTime() - deadline >= 0;
    }
  }

  /** Names a pod in messages. */
  static String describe(RankMap.Pod pod) {
    return "pod " + pod.index() + " (" + pod.name() + ")";
  }

  // The side that listens.

  private void accept(ServerSocketChannel server) {
    try {
      while (true) {
        SocketChannel socket = server.accept();
        Thread.ofVirtual().name("rendezvous answer").start(() -> answer(socket));
      }
    } catch (IOException e) {
      LOG.log(System.Logger.Level.DEBUG, "the rendezvous no longer listens: {0}", e);
    }
  }

  private void answer(SocketChannel socket) {
    boolean kept = false;
    try {
      prepare(socket);
      DataInputStream in = new DataInputStream(socket.socket().getInputStream());
      DataOutputStream out = new DataOutputStream(socket.socket().getOutputStream());
      Hello other = Hello.read(in);
      Verdict verdict = judge(other);
      switch (verdict) {
        case Verdict.Welcome _ -> {
          out.writeByte(WELCOME);
          self.write(out);
          if (in.readByte() != WELCOME) {
            throw new IOException("it refused this pod: " + Hello.readText(in));
          }
          kept = keep(other.pod(), socket);
        }
        case Verdict.Refused refused -> {
          LOG.log(System.Logger.Level.WARNING, "refused {0}: {1}", whence(socket), refused.why());
          out.writeByte(REFUSED);
          Hello.writeText(out, refused.why());
          if (other.job().equals(self.job()) && other.generation() == self.generation()) {
            fail(new PeerMismatchException("pod " + other.pod() + " called, but " + refused.why()));
          }
        }
        case Verdict.Later later -> {
          out.writeByte(LATER);
          Hello.writeText(out, later.why());
        }
      }
    } catch (IOException e) {
      LOG.log(
          System.Logger.Level.WARNING, "refused {0}: {1}", whence(socket), PeerLink.describe(e));
    } finally {
      if (!kept) {
        closeQuietly(socket);
      }
    }
  }

  private Verdict judge(Hello other) {
    Verdict verdict = self.judge(other);
    if (!(verdict instanceof Verdict.Welcome)) {
      return verdict;
    }
    if (other.pod() < 0 || other.pod() >= map.pods().size()) {
      return new Verdict.Refused("there is no pod " + other.pod() + " in this gang");
    }
    if (other.pod() <= self.pod()) { // it calls another, whose address this pod has now
      return new Verdict.Later("it is pod " + self.pod());
    }
    return verdict;
  }

  private static String whence(SocketChannel socket) {
    try {
      return String.valueOf(socket.getRemoteAddress());
    } catch (IOException e) {
      return "a caller";
    }
  }

  // The side that calls.

  private void call(RankMap.Pod pod) {
    while (!isOver()) {
      try {
        if (callOnce(pod)) {
          return;
        }
      } catch (IOException e) {
        seen(pod, e instanceof UnknownHostException ? "its name is unknown" : PeerLink.describe(e));
      }
      try {
        Thread.sleep(RETRY_MILLIS);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return;
      }
    }
  }

  /** Calls once; false to try again. */
  private boolean callOnce(RankMap.Pod pod) throws IOException {
    SocketChannel socket = SocketChannel.open();
    boolean kept = false;
    try {
      socket.setOption(StandardSocketOptions.SO_RCVBUF, SOCKET_BUFFER_BYTES);
      socket
          .socket()
          .connect(
              new InetSocketAddress(resolve(pod, InetAddress::getByName, addresses), port),
              ANSWER_MILLIS);
      prepare(socket);
      DataInputStream in = new DataInputStream(socket.socket().getInputStream());
      DataOutputStream out = new DataOutputStream(socket.socket().getOutputStream());
      self.write(out);
      switch (in.readByte()) {
        case WELCOME -> {
          Hello other = Hello.read(in);
          Verdict verdict = self.judge(other);
          if (verdict instanceof Verdict.Welcome && other.pod() != pod.index()) {
            verdict = new Verdict.Later("it is pod " + other.pod());
          }
          switch (verdict) {
            case Verdict.Welcome _ -> {
              out.writeByte(WELCOME);
              kept = keep(pod.index(), socket);
              return true;
            }
            case Verdict.Refused refused -> {
              out.writeByte(REFUSED);
              Hello.writeText(out, refused.why());
              fail(new PeerMismatchException(describe(pod) + " answers, but " + refused.why()));
              return true;
            }
            case Verdict.Later later -> {
              out.writeByte(REFUSED);
              Hello.writeText(out, later.why());
              answers(pod, later.why());
            }
          }
        }
        case REFUSED -> {
          fail(
              new PeerMismatchException(
                  describe(pod) + " refused this pod " + self.pod() + ": " + Hello.readText(in)));
          return true;
        }
        case LATER -> answers(pod, Hello.readText(in));
        default -> seen(pod, "what listens there does not speak as a peer");
      }
      return false;
    } finally {
      if (!kept) {
        closeQuietly(socket);
      }
    }
  }

  /** How names become addresses. */
  @FunctionalInterface
  interface Names {
    InetAddress address(String name) throws UnknownHostException;
  }

  /** The address of a pod's name now; one that is known otherwise when the name is not (yet). */
  static InetAddress resolve(RankMap.Pod pod, Names names, Fabric.Addresses addresses)
      throws UnknownHostException {
    try {
      return names.address(pod.name());
    } catch (UnknownHostException e) {
      Optional<String> ip = Optional.ofNullable(pod.ip()).or(() -> addresses.of(pod.index()));
      if (ip.isEmpty()) {
        throw e;
      }
      return names.address(ip.get());
    }
  }

  // Both sides.

  private static void prepare(SocketChannel socket) throws IOException {
    socket.setOption(StandardSocketOptions.TCP_NODELAY, true);
    socket.setOption(StandardSocketOptions.SO_SNDBUF, SOCKET_BUFFER_BYTES);
    socket.socket().setSoTimeout(ANSWER_MILLIS);
  }

  private boolean keep(int pod, SocketChannel socket) throws IOException {
    socket.socket().setSoTimeout(0);
    synchronized (found) {
      if (over || mismatch != null) {
        return false;
      }
      if (found.containsKey(pod)) {
        LOG.log(System.Logger.Level.WARNING, "refused a second connection of pod {0}", pod);
        return false;
      }
      PeerLink link =
          new PeerLink(
              socket,
              describe(map.pods().get(pod)),
              alarm,
              Duration.ofSeconds(network.peerSeconds()));
      found.put(pod, link);
      link.start();
      found.notifyAll();
      return true;
    }
  }

  /** Who waits long for a pod should see in the log that it is another that answers. */
  private void answers(RankMap.Pod pod, String what) {
    String text = "it answers that " + what;
    if (!text.equals(seen(pod, text))) {
      LOG.log(
          System.Logger.Level.WARNING, "{0} is not there yet: {1}; trying on", describe(pod), text);
    }
  }

  /** Returns what was seen before, null for nothing. */
  private String seen(RankMap.Pod pod, String what) {
    synchronized (found) {
      return lastSeen.put(pod.index(), what);
    }
  }

  private void fail(PeerMismatchException e) {
    synchronized (found) {
      if (mismatch == null) {
        mismatch = e;
      }
      found.notifyAll();
    }
  }

  private static void closeQuietly(SocketChannel socket) {
    try {
      socket.close();
    } catch (IOException e) {
      LOG.log(System.Logger.Level.DEBUG, "closing a connection: {0}", e);
    }
  }
}
