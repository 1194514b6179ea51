package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Frame.Channel;
import dev.perigee.engine.parallel.Group.Offer;
import dev.perigee.engine.parallel.TreeReducer.Range;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Collectives among ranks that are threads of this JVM and of other pods' JVMs. Ranks of one pod
 * read and write each other's tensors between two meetings; pods exchange frames. What can be
 * combined inside a pod is combined there first, and crosses to each other pod once.
 *
 * <p>One instance belongs to one rank; {@link Group} is what the ranks here share. It is for one
 * thread, but for streams: each may have a thread of its own that sends or receives.
 */
final class GroupCollectives implements Collectives {
  /** From so many floats on, and more than two pods, each pod sums only its share. */
  private static final int SHARED_FROM = 1 << 14;

  private final Group group;
  private final int index;
  private final int place;
  private final TreeReducer reducer;
  private final boolean byPods;
  private int round;

  /** Messages so far of each stream to and from another rank, streams of any thread. */
  private final Map<Channel, Integer> messages = new ConcurrentHashMap<>();

  GroupCollectives(Group group, int index) {
    this(group, index, RowExchange.byPodsIsFewer(group));
  }

  /**
   * As one of the ranks.
   *
   * @param byPods how {@link #allToAll} crosses to other pods, the same on every rank
   */
  GroupCollectives(Group group, int index, boolean byPods) {
    this.group = group;
    this.index = index;
    this.place = group.placeOf[index];
    this.byPods = byPods;
    this.reducer = new TreeReducer(group, index);
  }

  @Override
  public int size() {
    return group.size();
  }

  @Override
  public int index() {
    return index;
  }

  @Override
  public void allReduceSum(Tensor x) {
    allReduce(x, Reduction.SUM);
  }

  @Override
  public void allReduceMax(Tensor x) {
    allReduce(x, Reduction.MAX);
  }

  private void allReduce(Tensor x, Reduction reduction) {
    if (group.links.size() > 1 && x.size() >= SHARED_FROM) {
      int[] counts = new int[size()];
      Arrays.setAll(counts, i -> part(x.size(), size(), i + 1) - part(x.size(), size(), i));
      reduceScatter(x, counts, reduction);
      allGather(x, counts);
      return;
    }
    together(
        Offer.of("all-reduce " + reduction, x),
        () -> {
          if (place < group.lanes) {
            int from = part(x.size(), group.lanes, place);
            int end = part(x.size(), group.lanes, place + 1);
            Channel lane = Traffic.REDUCE.channel(group, 0, place);
            reducer.forAll(new Range(reduction, round, lane, from, end));
          }
        });
  }

  @Override
  public void reduceScatterSum(Tensor x, int[] counts) {
    reduceScatter(x, counts, Reduction.SUM);
  }

  private void reduceScatter(Tensor x, int[] counts, Reduction reduction) {
    int[] starts = starts(x, counts);
    together(
        Offer.of("reduce-scatter " + reduction, x),
        () -> {
          // Segments of ranks elsewhere first, so that they are under way while this rank's own is
          // worked on.
          for (int i = 0; i < size(); i++) {
            boolean elsewhere = group.podOf[i] != group.podOf[index];
            if (elsewhere && group.placeOf[i] % group.here.length == place) {
              reducer.forElsewhere(segment(reduction, starts, i), i);
            }
          }
          reducer.forThis(segment(reduction, starts, index));
        });
  }

  private Range segment(Reduction reduction, int[] starts, int owner) {
    Channel channel = Traffic.SCATTER.channel(group, owner, 0);
    return new Range(reduction, round, channel, starts[owner], starts[owner + 1]);
  }

  @Override
  public void allReduceSum(double[] x) {
    together(
        Offer.of("all-reduce of figures", x),
        () -> {
          if (place == 0) {
            group.figures = SmallExchange.sumOfFigures(group, round, x.length);
          }
          group.meeting.await();
          System.arraycopy(group.figures, 0, x, 0, x.length);
        });
  }

  @Override
  public void allGather(Tensor x, int[] counts) {
    int[] starts = starts(x, counts);
    together(
        Offer.of("all-gather", x),
        () -> {
          Channel mine = Traffic.GATHER.channel(group, index, 0);
          for (PeerLink link : group.links.values()) {
            sendAll(link, mine, x, starts[index], counts[index]);
          }
          for (int i : group.here) {
            copyBetween(group.offer(i).x(), x, starts[i], counts[i]);
          }
          if (group.links.isEmpty()) {
            return;
          }
          for (int i = 0; i < size(); i++) {
            if (!isHere(i) && receiver(i) == place) {
              Channel from = Traffic.GATHER.channel(group, i, 0);
              receiveAll(group.links.get(group.podOf[i]), from, x, starts[i], counts[i]);
            }
          }
          group.meeting.await();
          for (int i = 0; i < size(); i++) {
            if (!isHere(i)) {
              copyBetween(group.offer(group.here[receiver(i)]).x(), x, starts[i], counts[i]);
            }
          }
        });
  }

  /** Place of the member here that receives for all what member i of another pod sends. */
  private int receiver(int i) {
    return group.placeOf[i] % group.here.length;
  }

  @Override
  public void broadcast(Tensor x, int root) {
    together(
        Offer.of("broadcast from " + root, x),
        () -> {
          Channel channel = Traffic.BROADCAST.channel(group, root, 0);
          if (isHere(root)) {
            if (index == root) {
              for (PeerLink link : group.links.values()) {
                sendAll(link, channel, x, 0, x.size());
              }
            }
            copyBetween(group.offer(root).x(), x, 0, x.size());
          } else {
            if (place == 0) {
              receiveAll(group.links.get(group.podOf[root]), channel, x, 0, x.size());
            }
            group.meeting.await();
            copyBetween(group.offer(group.here[0]).x(), x, 0, x.size());
          }
        });
  }

  @Override
  public int[] allToAllCounts(int[] values) {
    if (values.length != size()) {
      throw new IllegalArgumentException(values.length + " counts for a group of " + size());
    }
    int[] result = new int[size()];
    together(
        Offer.of("all-to-all of counts", values),
        () -> {
          if (place == 0) {
            group.exchangedCounts = SmallExchange.counts(group, round);
          }
          group.meeting.await();
          for (int i = 0; i < size(); i++) {
            result[i] = group.exchangedCounts[place][i];
          }
        });
    return result;
  }

  @Override
  public void allToAll(Tensor send, int[] sendRows, Tensor receive, int[] receiveRows) {
    int width = send.dim(-1);
    if (receive.dim(-1) != width) {
      throw new IllegalArgumentException("all-to-all of " + send + " into " + receive);
    }
    int[] sendStarts = starts(send, times(sendRows, width));
    int[] receiveStarts = starts(receive, times(receiveRows, width));
    together(
        RowExchange.offer(width, send, sendStarts, receive, receiveStarts),
        () -> {
          RowExchange exchange = new RowExchange(group, index, round);
          if (byPods) {
            exchange.byPods();
          } else {
            exchange.flat();
          }
        });
  }

  private static int[] times(int[] rows, int width) {
    return Arrays.stream(rows).map(r -> Math.multiplyExact(r, width)).toArray();
  }

  @Override
  public void send(int to, int stream, Tensor x) {
    if (isHere(to)) {
      float[] numbers = Arrays.copyOfRange(x.floats(), x.offset(), x.offset() + x.size());
      group.mailboxes.put(new Mailboxes.Address(index, to, stream), numbers);
      return;
    }
    Channel channel = stream(stream, index, to);
    sendAll(
        group.links.get(group.podOf[to]),
        channel,
        messages.merge(channel, 1, Integer::sum),
        x,
        0,
        x.size());
  }

  @Override
  public void receive(int from, int stream, Tensor x) {
    if (isHere(from)) {
      float[] numbers = group.mailboxes.take(new Mailboxes.Address(from, index, stream));
      if (numbers.length != x.size()) {
        throw new IllegalStateException(
            "rank %d sends %d numbers on stream %d where %d were expected"
                .formatted(group.ranks.get(from), numbers.length, stream, x.size()));
      }
      System.arraycopy(numbers, 0, x.floats(), x.offset(), numbers.length);
      return;
    }
    Channel channel = stream(stream, from, index);
    try {
      receiveAll(
          group.links.get(group.podOf[from]),
          channel,
          messages.merge(channel, 1, Integer::sum),
          x,
          0,
          x.size());
    } catch (LostPeerException e) {
      group.alarm.ring(e.getMessage());
      throw e;
    }
  }

  private Channel stream(int stream, int from, int to) {
    // A channel names two numbers: here the stream, and the pair of members.
    return Traffic.STREAM.channel(group, stream, from * size() + to);
  }

  @Override
  public void barrier() {
    together(
        Offer.of("barrier"),
        () -> {
          if (place == 0 && !group.links.isEmpty()) {
            Channel channel = Traffic.BARRIER.channel(group, 0, 0);
            group.links.values().forEach(link -> link.send(channel, round, 0, out -> {}));
            group.links.values().forEach(link -> link.receive(channel, round, 0, in -> {}));
          }
        });
  }

  /**
   * One operation: lay open, meet, work, meet again. After the second meeting nobody looks at what
   * was laid open. A lost peer is everybody's loss; when this rank fails by itself, {@link
   * Fabric#run} frees the others, after the rank's task has had the chance to say why.
   */
  private void together(Offer offer, Runnable work) {
    round++;
    try {
      group.meet(index, offer);
      work.run();
      group.meeting.await();
    } catch (LostPeerException e) {
      group.alarm.ring(e.getMessage());
      throw e;
    }
  }

  private void sendAll(PeerLink link, Channel channel, Tensor x, int start, int count) {
    sendAll(link, channel, round, x, start, count);
  }

  private static void sendAll(
      PeerLink link, Channel channel, int round, Tensor x, int start, int count) {
    for (int at = start; at < start + count; at += TreeReducer.CHUNK) {
      int n = Math.min(TreeReducer.CHUNK, start + count - at);
      link.sendFloats(channel, round, x.floats(), x.offset() + at, n);
    }
  }

  private void receiveAll(PeerLink link, Channel channel, Tensor x, int start, int count) {
    receiveAll(link, channel, round, x, start, count);
  }

  private static void receiveAll(
      PeerLink link, Channel channel, int round, Tensor x, int start, int count) {
    for (int at = start; at < start + count; at += TreeReducer.CHUNK) {
      int n = Math.min(TreeReducer.CHUNK, start + count - at);
      link.receiveFloats(channel, round, x.floats(), x.offset() + at, n);
    }
  }

  private boolean isHere(int member) {
    return group.podOf[member] == group.podOf[index];
  }

  private static void copyBetween(Tensor from, Tensor to, int start, int count) {
    System.arraycopy(from.floats(), from.offset() + start, to.floats(), to.offset() + start, count);
  }

  /** Start of each rank's segment and, last, the end of all. */
  private int[] starts(Tensor x, int[] counts) {
    if (counts.length != size()) {
      throw new IllegalArgumentException(counts.length + " counts for a group of " + size());
    }
    int[] starts = new int[size() + 1];
    for (int i = 0; i < size(); i++) {
      if (counts[i] < 0) {
        throw new IllegalArgumentException("a negative count: " + Arrays.toString(counts));
      }
      starts[i + 1] = Math.addExact(starts[i], counts[i]);
    }
    if (starts[size()] != x.size()) {
      throw new IllegalArgumentException(
          "the counts " + Arrays.toString(counts) + " do not add up to the size of " + x);
    }
    return starts;
  }

  /** Where part i of n begins when {@code size} elements are shared out evenly. */
  private static int part(int size, int n, int i) {
    return (int) ((long) size * i / n);
  }
}
