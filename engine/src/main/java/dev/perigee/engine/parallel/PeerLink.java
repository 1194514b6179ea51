package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Frame.Channel;
import dev.perigee.engine.parallel.Frame.Header;
import dev.perigee.engine.parallel.Frame.Kind;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.IntFunction;

/**
 * The TCP connection to one other pod. Ranks write their frames themselves; one virtual thread
 * reads and sorts what arrives, so the socket is drained even while every rank computes, and two
 * pods that send to each other at once cannot block each other. Two more send heartbeats and listen
 * for silence.
 */
final class PeerLink {
  private static final System.Logger LOG = System.getLogger(PeerLink.class.getName());
  private static final Channel NO_CHANNEL = new Channel(0, 0);

  /** A peer counts as lost after this many heartbeat intervals in a row without a byte from it. */
  private static final int SILENT_INTERVALS = 10;

  private final IntFunction<ByteBuffer> payloads;
  private final SocketChannel socket;
  private final String peer;
  private final Alarm alarm;
  private final long intervalMillis;

  private final ReentrantLock writing = new ReentrantLock();
  private final ByteBuffer out = buffer(Frame.HEADER_BYTES + Frame.MAX_PAYLOAD_BYTES);

  private final ReentrantLock arrivals = new ReentrantLock();
  private final Map<Channel, Inbox> inboxes = new ConcurrentHashMap<>();
  private final Queue<ByteBuffer> idleBuffers = new ConcurrentLinkedQueue<>();
  private final CountDownLatch goodbyeSeen = new CountDownLatch(1);
  private volatile boolean heard;

  /** Why nothing more will arrive, null while the peer works. */
  private volatile String ended;

  /** Set when this side has said goodbye or given up: what the socket does then is no news. */
  private volatile boolean leaving;

  /**
   * A link over a connection whose two ends know each other.
   *
   * @param peer names the other pod in messages, for example {@code pod 1 (demo-1.demo)}
   * @param alarm is rung when the peer is lost
   * @param patience how long the peer may be silent
   */
  PeerLink(SocketChannel socket, String peer, Alarm alarm, Duration patience) {
    this(socket, peer, alarm, patience, PeerLink::buffer);
  }

  /**
   * The same.
   *
   * @param payloads gives a buffer of so many bytes for what arrives
   */
  PeerLink(
      SocketChannel socket,
      String peer,
      Alarm alarm,
      Duration patience,
      IntFunction<ByteBuffer> payloads) {
    this.payloads = payloads;
    this.socket = socket;
    this.peer = peer;
    this.alarm = alarm;
    this.intervalMillis = Math.max(1, patience.toMillis() / SILENT_INTERVALS);
  }

  private static ByteBuffer buffer(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Begins to read and to listen for silence; when the alarm rings, tells the peer why. */
  void start() {
    alarm.whenRung(
        () -> Thread.ofVirtual().name("abort " + peer).start(() -> abort(alarm.reason())));
    Thread.ofVirtual().name("read " + peer).start(this::read);
    Thread.ofVirtual().name("heartbeat " + peer).start(this::beat);
    Thread.ofVirtual().name("watch " + peer).start(this::watch);
  }

  /**
   * Sends one frame; returns when the system has taken it.
   *
   * @param bytes length of the payload, at most {@link Frame#MAX_PAYLOAD_BYTES}
   * @param fill writes exactly that many bytes
   * @throws LostPeerException when the peer is gone
   */
  void send(Channel channel, int round, int bytes, Consumer<ByteBuffer> fill) {
    writing.lock();
    try {
      alarm.check();
      if (ended != null) {
        throw new LostPeerException(ended);
      }
      write(new Header(Kind.DATA, channel, round, bytes), fill);
    } catch (IOException e) {
      lost(describe(e));
      throw new LostPeerException(ended, e);
    } finally {
      writing.unlock();
    }
  }

  /** Sends numbers of an array as one frame; see {@link #send}. */
  void sendFloats(Channel channel, int round, float[] from, int at, int count) {
    send(
        channel,
        round,
        count * Float.BYTES,
        out -> {
          out.asFloatBuffer().put(from, at, count);
          out.position(out.position() + count * Float.BYTES);
        });
  }

  /** Takes one frame of numbers into an array; see {@link #receive}. */
  void receiveFloats(Channel channel, int round, float[] into, int at, int count) {
    receive(channel, round, count * Float.BYTES, in -> in.asFloatBuffer().get(into, at, count));
  }

  /** Writes a frame; the caller holds {@link #writing}. */
  private void write(Header header, Consumer<ByteBuffer> fill) throws IOException {
    out.clear();
    header.write(out);
    fill.accept(out);
    if (out.position() != Frame.HEADER_BYTES + header.length()) {
      throw new IllegalStateException(
          (out.position() - Frame.HEADER_BYTES) + " bytes in a frame of " + header.length());
    }
    out.flip();
    while (out.hasRemaining()) {
      socket.write(out);
    }
  }

  /** Sends a frame that says something about this pod itself; a busy or dead socket is no error. */
  private void tell(Kind kind, byte[] text, long waitMillis) {
    try {
      if (writing.tryLock(waitMillis, TimeUnit.MILLISECONDS)) {
        try {
          write(new Header(kind, NO_CHANNEL, 0, text.length), to -> to.put(text));
        } finally {
          writing.unlock();
        }
      }
    } catch (IOException e) {
      LOG.log(System.Logger.Level.DEBUG, "{0} did not get {1}: {2}", peer, kind, e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Takes the next frame of a channel.
   *
   * @param round the operation that it must belong to
   * @param bytes the length that it must have
   * @param drain reads the payload; the buffer is not to be kept
   * @throws LostPeerException when the peer is gone and nothing more can arrive
   * @throws IllegalStateException when the peer is doing something else
   */
  void receive(Channel channel, int round, int bytes, Consumer<ByteBuffer> drain) {
    Arrival arrival = inboxes.computeIfAbsent(channel, c -> new Inbox()).take();
    try {
      if (arrival.round() != round || arrival.payload().remaining() != bytes) {
        throw new IllegalStateException(
            peer
                + " sent "
                + arrival.payload().remaining()
                + " bytes for operation "
                + arrival.round()
                + " of the group where "
                + bytes
                + " for operation "
                + round
                + " were expected; the ranks do not call the same collectives in the same order");
      }
      drain.accept(arrival.payload());
    } finally {
      idleBuffers.add(arrival.payload());
    }
  }

  /** Ends the work with this peer in peace: it learns that the silence to come is no loss. */
  void close() {
    if (ended == null) {
      leaving = true;
      tell(Kind.GOODBYE, new byte[0], 1000);
      try {
        // A socket that is closed with unread bytes resets the connection, and the goodbye with it.
        if (!goodbyeSeen.await(2, TimeUnit.SECONDS)) {
          LOG.log(System.Logger.Level.DEBUG, "{0} did not answer the goodbye", peer);
        }
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    closeSocket();
  }

  /** Gives up, and tells the peer why if it still listens. */
  void abort(String reason) {
    boolean listens = ended == null && !leaving;
    leaving = true;
    end(reason);
    if (listens) {
      byte[] text = reason.getBytes(StandardCharsets.UTF_8);
      tell(Kind.ABORT, Arrays.copyOf(text, Math.min(text.length, 1000)), 200);
    }
    closeSocket();
  }

  private void lost(String what) {
    String message = peer + " is lost: " + what;
    end(message);
    closeSocket();
    if (!leaving) {
      alarm.ring(message);
    }
  }

  private void end(String why) {
    arrivals.lock();
    try {
      if (ended == null) {
        ended = why;
      }
      inboxes.values().forEach(inbox -> inbox.filled.signalAll());
    } finally {
      arrivals.unlock();
    }
  }

  /** Closes the connection without a word, as the end of a process does. */
  void closeSocket() {
    try {
      socket.close();
    } catch (IOException e) {
      LOG.log(System.Logger.Level.DEBUG, "closing the connection to {0}: {1}", peer, e);
    }
  }

  /** What became of a connection, for people. */
  static String describe(IOException e) {
    return switch (e) {
      case EOFException _ -> "it closed the connection";
      case Frame.MalformedException m -> m.getMessage() + "; that is no peer of this job";
      case java.nio.channels.ClosedChannelException _ -> "the connection was closed";
      default -> e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    };
  }

  private void read() {
    ByteBuffer head = buffer(Frame.HEADER_BYTES);
    try {
      while (true) {
        fill(head.clear());
        Header header = Header.read(head.flip());
        switch (header.kind()) {
          case DATA -> {
            ByteBuffer payload = idleBuffers.poll();
            if (payload == null) {
              payload = payloads.apply(Frame.MAX_PAYLOAD_BYTES);
            }
            fill(payload.clear().limit(header.length()));
            inboxes
                .computeIfAbsent(header.channel(), c -> new Inbox())
                .put(new Arrival(header.round(), payload.flip()));
          }
          case HEARTBEAT -> heard = true;
          case GOODBYE -> {
            end(peer + " has ended its work");
            tell(Kind.GOODBYE_SEEN, new byte[0], 1000);
          }
          case GOODBYE_SEEN -> goodbyeSeen.countDown();
          case ABORT -> {
            ByteBuffer text = buffer(header.length());
            fill(text);
            lost("it gave up: " + StandardCharsets.UTF_8.decode(text.flip()));
            return;
          }
        }
      }
    } catch (IOException e) {
      goodbyeSeen.countDown();
      if (ended == null) {
        lost(describe(e));
      }
      closeSocket();
    } catch (OutOfMemoryError e) {
      // Nobody would read any more: the ranks would wait, and then blame the peer's silence.
      goodbyeSeen.countDown();
      lost("this pod has no memory for what it sends; give it more (" + e.getMessage() + ")");
    }
  }

  private void fill(ByteBuffer buffer) throws IOException {
    while (buffer.hasRemaining()) {
      if (socket.read(buffer) < 0) {
        throw new EOFException();
      }
      heard = true;
    }
  }

  /** Sends a sign of life in every interval. Apart from {@link #watch}: a write can block. */
  private void beat() {
    try {
      while (ended == null && !leaving) {
        Thread.sleep(intervalMillis);
        tell(Kind.HEARTBEAT, new byte[0], 0);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Counts silence in intervals in which this thread ran, not by the clock, so that a pause of this
   * whole process is not taken for the peer's silence. Closing the socket frees whoever is blocked
   * in a write to a peer that has stopped reading.
   */
  private void watch() {
    try {
      int silent = 0;
      while (ended == null) {
        Thread.sleep(intervalMillis);
        silent = heard ? 0 : silent + 1;
        heard = false;
        if (silent >= SILENT_INTERVALS && ended == null) {
          lost("silent for " + silent * intervalMillis + " ms");
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private record Arrival(int round, ByteBuffer payload) {}

  /** Frames of one channel that have arrived and are not taken yet. */
  private final class Inbox {
    private final Queue<Arrival> queue = new ArrayDeque<>();
    private final Condition filled = arrivals.newCondition();

    void put(Arrival arrival) {
      arrivals.lock();
      try {
        queue.add(arrival);
        filled.signal();
      } finally {
        arrivals.unlock();
      }
    }

    /** Waits for a frame. What arrived before the peer ended can still be taken afterwards. */
    Arrival take() {
      arrivals.lock();
      try {
        while (queue.isEmpty()) {
          if (ended != null) {
            throw new LostPeerException(ended);
          }
          filled.awaitUninterruptibly();
        }
        return queue.remove();
      } finally {
        arrivals.unlock();
      }
    }
  }
}
