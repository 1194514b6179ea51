package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Frame.Channel;
import dev.perigee.engine.parallel.ReductionTree.Subtree;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;

/**
 * Collectives among ranks that are threads of this JVM and of other pods' JVMs. Ranks of one pod
 * read and write each other's tensors between two meetings; pods exchange frames. What can be
 * combined inside a pod is combined there first, and crosses to each other pod once.
 *
 * <p>One instance belongs to one rank; {@link Group} is what the ranks here share.
 */
final class GroupCollectives implements Collectives {
  /** Floats worked on at once: fits the second-level cache and one frame. */
  private static final int CHUNK = Frame.MAX_PAYLOAD_BYTES / Float.BYTES;

  /** Chunks that may be under way to the other pods before their answers are used. */
  private static final int AHEAD = 3;

  /** From so many floats on, and more than two pods, each pod sums only its share. */
  private static final int SHARED_FROM = 1 << 14;

  private final Group group;
  private final int index;
  private final int place;
  private final float[][] remote;
  private int round;

  GroupCollectives(Group group, int index) {
    this.group = group;
    this.index = index;
    this.place = group.placeOf[index];
    this.remote = new float[group.size()][];
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
        "all-reduce " + reduction,
        x.size(),
        x,
        null,
        null,
        () -> {
          if (place < group.lanes) {
            int from = part(x.size(), group.lanes, place);
            int end = part(x.size(), group.lanes, place + 1);
            Channel lane = new Channel(group.digest, port(Traffic.REDUCE, 0, place));
            reduce(reduction, from, end, lane, true, true);
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
        "reduce-scatter " + reduction,
        x.size(),
        x,
        null,
        null,
        () -> {
          // Segments of ranks elsewhere first, so that they are under way while this rank's own is
          // worked on.
          for (int i = 0; i < size(); i++) {
            boolean elsewhere = group.podOf[i] != group.podOf[index];
            if (elsewhere && group.placeOf[i] % group.here.length == place) {
              reduce(reduction, starts[i], starts[i + 1], segment(i), true, false);
            }
          }
          reduce(reduction, starts[index], starts[index + 1], segment(index), false, true);
        });
  }

  private Channel segment(int i) {
    return new Channel(group.digest, port(Traffic.SCATTER, 0, i));
  }

  /**
   * Combines the elements {@code from} to {@code end - 1} of the tensors laid open by the members.
   *
   * @param send whether the other pods (all of them for an all-reduce, that of the segment's owner
   *     for a scatter) get this pod's part
   * @param finish whether this pod gets the others' parts and the whole result
   */
  private void reduce(
      Reduction reduction, int from, int end, Channel channel, boolean send, boolean finish) {
    boolean scatter = send != finish;
    for (int at = from; at < end; at += CHUNK) {
      int count = Math.min(CHUNK, end - at);
      combineHere(reduction, at, count);
      if (send) {
        sendSubtrees(channel, at, count, scatter);
      }
      // With several pods, results lag behind by some chunks to keep the wire busy.
      if (finish && !group.links.isEmpty() && at - AHEAD * CHUNK >= from) {
        finish(reduction, channel, at - AHEAD * CHUNK, CHUNK, scatter);
      } else if (finish && group.links.isEmpty()) {
        finish(reduction, channel, at, count, scatter);
      }
    }
    if (finish && !group.links.isEmpty()) {
      int chunks = (end - from + CHUNK - 1) / CHUNK;
      for (int at = from + Math.max(0, chunks - AHEAD) * CHUNK; at < end; at += CHUNK) {
        finish(reduction, channel, at, Math.min(CHUNK, end - at), scatter);
      }
    }
  }

  /** Combines each subtree of this pod into the tensor of its first member. */
  private void combineHere(Reduction reduction, int at, int count) {
    int[] nothingDone = new int[size()];
    for (Subtree subtree : group.subtrees) {
      if (subtree.pod() == group.podOf[index]) {
        ReductionTree.reduce(
            subtree.first(),
            subtree.end(),
            nothingDone,
            (left, right) -> {
              Tensor l = group.offer(left).x();
              Tensor r = group.offer(right).x();
              reduction.into(l.floats(), l.offset() + at, r.floats(), r.offset() + at, count);
            });
      }
    }
  }

  private void sendSubtrees(Channel channel, int at, int count, boolean scatter) {
    int owner = scatter ? group.podOf[(int) (channel.port() & 0xffffff)] : -1;
    group.links.forEach(
        (pod, link) -> {
          if (scatter && pod != owner) {
            return;
          }
          for (Subtree subtree : group.subtrees) {
            if (subtree.pod() == group.podOf[index]) {
              send(link, channel, group.offer(subtree.first()).x(), at, count);
            }
          }
        });
  }

  /** Gets the other pods' subtrees, combines all, and writes the result where it belongs. */
  private void finish(Reduction reduction, Channel channel, int at, int count, boolean scatter) {
    for (Subtree subtree : group.subtrees) {
      PeerLink link = group.links.get(subtree.pod());
      if (link != null) {
        float[] values = scratch(subtree.first());
        link.receive(
            channel, round, count * Float.BYTES, in -> in.asFloatBuffer().get(values, 0, count));
      }
    }
    ReductionTree.reduce(
        0,
        size(),
        group.subtreeEnd,
        (left, right) ->
            reduction.into(values(left), start(left, at), values(right), start(right, at), count));
    if (scatter) {
      copy(values(0), start(0, at), group.offer(index).x(), at, count);
    } else {
      for (int i : group.here) {
        copy(values(0), start(0, at), group.offer(i).x(), at, count);
      }
    }
  }

  private float[] scratch(int member) {
    if (remote[member] == null) {
      remote[member] = new float[CHUNK];
    }
    return remote[member];
  }

  private boolean isHere(int member) {
    return group.podOf[member] == group.podOf[index];
  }

  private float[] values(int member) {
    return isHere(member) ? group.offer(member).x().floats() : remote[member];
  }

  private int start(int member, int at) {
    return isHere(member) ? group.offer(member).x().offset() + at : 0;
  }

  private static void copy(float[] from, int start, Tensor to, int at, int count) {
    System.arraycopy(from, start, to.floats(), to.offset() + at, count);
  }

  @Override
  public void allReduceSum(double[] x) {
    together(
        "all-reduce of figures",
        x.length,
        null,
        null,
        x,
        () -> {
          if (place == 0) {
            group.figures = sumOfFigures(x.length);
          }
          group.meeting.await();
          System.arraycopy(group.figures, 0, x, 0, x.length);
        });
  }

  private double[] sumOfFigures(int length) {
    double[][] all = new double[size()][];
    for (int i : group.here) {
      all[i] = group.offer(i).figures().clone();
    }
    int chunk = Frame.MAX_PAYLOAD_BYTES / Double.BYTES;
    for (int at = 0; at < length; at += chunk) {
      int from = at;
      int count = Math.min(chunk, length - at);
      for (PeerLink link : group.links.values()) {
        for (int i : group.here) {
          link.send(
              figures(i),
              round,
              count * Double.BYTES,
              out -> {
                out.asDoubleBuffer().put(all[i], from, count);
                out.position(out.position() + count * Double.BYTES);
              });
        }
      }
    }
    for (int i = 0; i < size(); i++) {
      if (!isHere(i)) {
        double[] values = new double[length];
        all[i] = values;
        for (int at = 0; at < length; at += chunk) {
          int from = at;
          int count = Math.min(chunk, length - at);
          group
              .links
              .get(group.podOf[i])
              .receive(
                  figures(i),
                  round,
                  count * Double.BYTES,
                  in -> in.asDoubleBuffer().get(values, from, count));
        }
      }
    }
    ReductionTree.reduce(
        0,
        size(),
        new int[size()],
        (left, right) -> {
          for (int k = 0; k < length; k++) {
            all[left][k] += all[right][k];
          }
        });
    return all[0];
  }

  private Channel figures(int from) {
    return new Channel(group.digest, port(Traffic.FIGURES, from, 0));
  }

  @Override
  public void allGather(Tensor x, int[] counts) {
    int[] starts = starts(x, counts);
    together(
        "all-gather",
        x.size(),
        x,
        null,
        null,
        () -> {
          Channel mine = new Channel(group.digest, port(Traffic.GATHER, index, 0));
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
              Channel from = new Channel(group.digest, port(Traffic.GATHER, i, 0));
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
        "broadcast from " + root,
        x.size(),
        x,
        null,
        null,
        () -> {
          Channel channel = new Channel(group.digest, port(Traffic.BROADCAST, root, 0));
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
        "all-to-all of counts",
        size(),
        null,
        values,
        null,
        () -> {
          if (place == 0) {
            group.exchangedCounts = exchangeCounts();
          }
          group.meeting.await();
          for (int i = 0; i < size(); i++) {
            result[i] = group.exchangedCounts[place][i];
          }
        });
    return result;
  }

  /** What each member here gets from each member of the group. */
  private int[][] exchangeCounts() {
    int[][] got = new int[group.here.length][size()];
    for (int from : group.here) {
      int[] values = group.offer(from).counts();
      for (int to : group.here) {
        got[group.placeOf[to]][from] = values[to];
      }
      group.links.forEach(
          (pod, link) -> {
            int[] theirs = members(pod);
            link.send(
                counts(from),
                round,
                theirs.length * Integer.BYTES,
                out -> {
                  for (int to : theirs) {
                    out.putInt(values[to]);
                  }
                });
          });
    }
    for (int from = 0; from < size(); from++) {
      int source = from;
      if (!isHere(from)) {
        group
            .links
            .get(group.podOf[from])
            .receive(
                counts(from),
                round,
                group.here.length * Integer.BYTES,
                in -> {
                  for (int[] mine : got) {
                    mine[source] = in.getInt();
                  }
                });
      }
    }
    return got;
  }

  private int[] members(int pod) {
    int[] found = new int[size()];
    int n = 0;
    for (int i = 0; i < size(); i++) {
      if (group.podOf[i] == pod) {
        found[n++] = i;
      }
    }
    return Arrays.copyOf(found, n);
  }

  private Channel counts(int from) {
    return new Channel(group.digest, port(Traffic.COUNTS, from, 0));
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
        "all-to-all",
        width,
        send,
        sendStarts,
        null,
        () -> {
          for (int to = 0; to < size(); to++) {
            if (!isHere(to)) {
              Channel channel = new Channel(group.digest, port(Traffic.ROWS, index, to));
              PeerLink link = group.links.get(group.podOf[to]);
              sendAll(link, channel, send, sendStarts[to], sendStarts[to + 1] - sendStarts[to]);
            }
          }
          for (int from : group.here) {
            Group.Offer offer = group.offer(from);
            int start = offer.counts()[index];
            int count = offer.counts()[index + 1] - start;
            if (count != receiveStarts[from + 1] - receiveStarts[from]) {
              throw new IllegalStateException(
                  "rank "
                      + group.ranks.get(from)
                      + " sends "
                      + count / width
                      + " rows where "
                      + receiveRows[from]
                      + " were expected");
            }
            System.arraycopy(
                offer.x().floats(),
                offer.x().offset() + start,
                receive.floats(),
                receive.offset() + receiveStarts[from],
                count);
          }
          for (int from = 0; from < size(); from++) {
            if (!isHere(from)) {
              Channel channel = new Channel(group.digest, port(Traffic.ROWS, from, index));
              PeerLink link = group.links.get(group.podOf[from]);
              int count = receiveStarts[from + 1] - receiveStarts[from];
              receiveAll(link, channel, receive, receiveStarts[from], count);
            }
          }
        });
  }

  private static int[] times(int[] rows, int width) {
    return Arrays.stream(rows).map(r -> Math.multiplyExact(r, width)).toArray();
  }

  @Override
  public void barrier() {
    together(
        "barrier",
        0,
        null,
        null,
        null,
        () -> {
          if (place == 0 && !group.links.isEmpty()) {
            Channel channel = new Channel(group.digest, port(Traffic.BARRIER, 0, 0));
            group.links.values().forEach(link -> link.send(channel, round, 0, out -> {}));
            group.links.values().forEach(link -> link.receive(channel, round, 0, in -> {}));
          }
        });
  }

  /**
   * One operation: lay open, meet, work, meet again. After the second meeting nobody looks at what
   * was laid open. A failure of one rank rings the alarm, because its neighbours would wait for it.
   */
  private void together(
      String operation, int size, Tensor x, int[] counts, double[] figures, Runnable work) {
    round++;
    try {
      group.meet(index, new Group.Offer(operation, round, size, x, counts, figures));
      work.run();
      group.meeting.await();
    } catch (LostPeerException e) {
      group.alarm.ring(e.getMessage());
      throw e;
    } catch (RuntimeException | Error e) {
      group.alarm.ring("rank " + group.ranks.get(index) + " failed in " + operation + ": " + e);
      throw e;
    }
  }

  private void sendAll(PeerLink link, Channel channel, Tensor x, int start, int count) {
    for (int at = start; at < start + count; at += CHUNK) {
      send(link, channel, x, at, Math.min(CHUNK, start + count - at));
    }
  }

  private void send(PeerLink link, Channel channel, Tensor x, int at, int count) {
    link.send(
        channel,
        round,
        count * Float.BYTES,
        out -> {
          out.asFloatBuffer().put(x.floats(), x.offset() + at, count);
          out.position(out.position() + count * Float.BYTES);
        });
  }

  private void receiveAll(PeerLink link, Channel channel, Tensor x, int start, int count) {
    for (int at = start; at < start + count; at += CHUNK) {
      int from = x.offset() + at;
      int n = Math.min(CHUNK, start + count - at);
      link.receive(
          channel, round, n * Float.BYTES, in -> in.asFloatBuffer().get(x.floats(), from, n));
    }
  }

  private static void copyBetween(Tensor from, Tensor to, int start, int count) {
    copy(from.floats(), from.offset() + start, to, start, count);
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

  /** Kinds of traffic within a group, each with its own channels. */
  private enum Traffic {
    REDUCE(1),
    SCATTER(2),
    FIGURES(3),
    GATHER(4),
    BROADCAST(5),
    COUNTS(6),
    ROWS(7),
    BARRIER(8);

    private final long code;

    Traffic(long code) {
      this.code = code;
    }
  }

  private static long port(Traffic traffic, int from, int to) {
    return traffic.code << 48 | (long) from << 24 | to;
  }
}
