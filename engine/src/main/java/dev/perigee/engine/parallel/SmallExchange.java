package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Frame.Channel;
import java.util.stream.IntStream;

/** Exchanges of few numbers, which the first member of each pod does for all members there. */
final class SmallExchange {
  private SmallExchange() {}

  /** Figures of every member, added up in the order of {@link ReductionTree}. */
  static double[] sumOfFigures(Group group, int round, int length) {
    double[][] all = new double[group.size()][];
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
              channel(group, Traffic.FIGURES, i),
              round,
              count * Double.BYTES,
              out -> {
                for (int k = from; k < from + count; k++) {
                  out.putDouble(all[i][k]);
                }
              });
        }
      }
    }
    for (int i = 0; i < group.size(); i++) {
      PeerLink link = group.links.get(group.podOf[i]);
      if (link != null) {
        double[] values = new double[length];
        all[i] = values;
        for (int at = 0; at < length; at += chunk) {
          int from = at;
          int count = Math.min(chunk, length - at);
          link.receive(
              channel(group, Traffic.FIGURES, i),
              round,
              count * Double.BYTES,
              in -> in.asDoubleBuffer().get(values, from, count));
        }
      }
    }
    ReductionTree.reduce(
        0,
        group.size(),
        new int[group.size()],
        (left, right) -> {
          for (int k = 0; k < length; k++) {
            all[left][k] += all[right][k];
          }
        });
    return all[0];
  }

  /** What each member here, by its place, gets from each member of the group. */
  static int[][] counts(Group group, int round) {
    int[][] got = new int[group.here.length][group.size()];
    for (int from : group.here) {
      int[] values = group.offer(from).counts();
      for (int to : group.here) {
        got[group.placeOf[to]][from] = values[to];
      }
      group.links.forEach(
          (pod, link) -> {
            int[] theirs =
                IntStream.range(0, group.size()).filter(i -> group.podOf[i] == pod).toArray();
            link.send(
                channel(group, Traffic.COUNTS, from),
                round,
                theirs.length * Integer.BYTES,
                out -> {
                  for (int to : theirs) {
                    out.putInt(values[to]);
                  }
                });
          });
    }
    for (int i = 0; i < group.size(); i++) {
      int from = i;
      PeerLink link = group.links.get(group.podOf[from]);
      if (link != null) {
        link.receive(
            channel(group, Traffic.COUNTS, from),
            round,
            group.here.length * Integer.BYTES,
            in -> {
              for (int[] mine : got) {
                mine[from] = in.getInt();
              }
            });
      }
    }
    return got;
  }

  private static Channel channel(Group group, Traffic traffic, int from) {
    return traffic.channel(group, from, 0);
  }
}
