package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Frame.Channel;
import dev.perigee.engine.parallel.Group.Offer;
import dev.perigee.engine.tensor.Tensor;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * One member's part in an all-to-all of rows. Members of one pod read each other's rows. What
 * crosses to another pod goes in one of two ways, between which only the number of messages
 * differs:
 *
 * <ul>
 *   <li>flat: every member sends to every member there, m · n messages for m members here and n
 *       there;
 *   <li>by pods: one member here sends for all, one there receives for all, one message. It takes
 *       the rows straight out of its neighbours' tensors and puts them straight into theirs.
 * </ul>
 */
final class RowExchange {
  private final Group group;
  private final int index;
  private final int round;

  RowExchange(Group group, int index, int round) {
    this.group = group;
    this.index = index;
    this.round = round;
  }

  /**
   * What a member lays open: from where on in {@code send} its rows for each member begin, and from
   * where on in {@code receive} those from each member go; last, the ends.
   */
  static Offer offer(int width, Tensor send, int[] sendStarts, Tensor receive, int[] starts) {
    return new Offer("all-to-all", width, send, sendStarts, receive, starts, null);
  }

  /** Whether one message for each pair of pods is fewer than one for each pair of members. */
  static boolean byPodsIsFewer(Group group) {
    return !group.links.isEmpty() && group.size() > group.links.size() + 1;
  }

  /** Every member sends to every other for itself. */
  void flat() {
    Offer mine = group.offer(index);
    for (int to = 0; to < group.size(); to++) {
      if (!isHere(to)) {
        Runs rows = new Runs();
        rows.add(mine.x(), mine.counts(), to);
        rows.send(link(to), Traffic.ROWS.channel(group, index, to), round);
      }
    }
    fromNeighbours();
    for (int from = 0; from < group.size(); from++) {
      if (!isHere(from)) {
        Runs rows = new Runs();
        rows.add(mine.into(), mine.intoStarts(), from);
        rows.receive(link(from), Traffic.ROWS.channel(group, from, index), round);
      }
    }
  }

  /** One message to and from each other pod; who carries it depends on the pod. */
  void byPods() {
    int place = group.placeOf[index];
    int pods = 0;
    List<Integer> receiving = new ArrayList<>();
    for (int pod : group.links.keySet()) {
      if (pods % group.here.length == place) {
        Runs rows = new Runs();
        for (int from : group.here) {
          for (int to : membersOf(pod)) {
            rows.add(group.offer(from).x(), group.offer(from).counts(), to);
          }
        }
        rows.send(group.links.get(pod), Traffic.ROWS_OF_POD.channel(group, 0, 0), round);
      }
      pods++;
      if (pods % group.here.length == place) { // another member, so that both go on at once
        receiving.add(pod);
      }
    }
    fromNeighbours();
    for (int pod : receiving) {
      Runs rows = new Runs();
      for (int from : membersOf(pod)) {
        for (int to : group.here) {
          rows.add(group.offer(to).into(), group.offer(to).intoStarts(), from);
        }
      }
      rows.receive(group.links.get(pod), Traffic.ROWS_OF_POD.channel(group, 0, 0), round);
    }
  }

  private void fromNeighbours() {
    Offer mine = group.offer(index);
    for (int from : group.here) {
      Offer theirs = group.offer(from);
      int start = theirs.counts()[index];
      int count = theirs.counts()[index + 1] - start;
      int into = mine.intoStarts()[from];
      int expected = mine.intoStarts()[from + 1] - into;
      if (count != expected) {
        throw new IllegalStateException(
            "rank %s sends %d rows where %d were expected"
                .formatted(
                    group.ranks.get(from),
                    count / Math.max(1, mine.size()),
                    expected / Math.max(1, mine.size())));
      }
      System.arraycopy(
          theirs.x().floats(),
          theirs.x().offset() + start,
          mine.into().floats(),
          mine.into().offset() + into,
          count);
    }
  }

  private int[] membersOf(int pod) {
    return java.util.stream.IntStream.range(0, group.size())
        .filter(i -> group.podOf[i] == pod)
        .toArray();
  }

  private boolean isHere(int member) {
    return group.podOf[member] == group.podOf[index];
  }

  private PeerLink link(int member) {
    return group.links.get(group.podOf[member]);
  }

  /** Runs of numbers in several tensors, which travel as if they lay back to back. */
  static final class Runs {
    @SuppressWarnings("ArrayRecordComponent") // identity is what is meant
    private record Run(float[] values, int at, int count) {}

    private final List<Run> runs = new ArrayList<>();
    private long total; // of several tensors, of which each has less than 2^31

    /** Where the cursor stands: in which run, and how many of its numbers are done. */
    private int current;

    private int done;

    /** The numbers of x from {@code starts[i]} to {@code starts[i + 1]}. */
    void add(Tensor x, int[] starts, int i) {
      int count = starts[i + 1] - starts[i];
      if (count > 0) {
        runs.add(new Run(x.floats(), x.offset() + starts[i], count));
        total += count;
      }
    }

    /** How many numbers they are. */
    long total() {
      return total;
    }

    void send(PeerLink link, Channel channel, int round) {
      for (long at = 0; at < total; at += TreeReducer.CHUNK) {
        int n = (int) Math.min(TreeReducer.CHUNK, total - at);
        link.send(
            channel,
            round,
            n * Float.BYTES,
            out -> each(n, (run, from, k) -> put(out, run, from, k)));
      }
    }

    void receive(PeerLink link, Channel channel, int round) {
      for (long at = 0; at < total; at += TreeReducer.CHUNK) {
        int n = (int) Math.min(TreeReducer.CHUNK, total - at);
        link.receive(
            channel, round, n * Float.BYTES, in -> each(n, (run, to, k) -> get(in, run, to, k)));
      }
    }

    private static void put(ByteBuffer out, float[] values, int at, int count) {
      out.asFloatBuffer().put(values, at, count);
      out.position(out.position() + count * Float.BYTES);
    }

    private static void get(ByteBuffer in, float[] values, int at, int count) {
      in.asFloatBuffer().get(values, at, count);
      in.position(in.position() + count * Float.BYTES);
    }

    private interface Piece {
      void move(float[] values, int at, int count);
    }

    /** Moves the next {@code count} numbers, piece by piece. */
    private void each(int count, Piece piece) {
      int left = count;
      while (left > 0) {
        Run run = runs.get(current);
        int n = Math.min(left, run.count - done);
        piece.move(run.values, run.at + done, n);
        left -= n;
        done += n;
        if (done == run.count) {
          current++;
          done = 0;
        }
      }
    }
  }
}
