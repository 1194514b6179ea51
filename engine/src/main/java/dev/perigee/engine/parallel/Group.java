package dev.perigee.engine.parallel;

import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What the members of a group that live in this pod share: who is where, the barrier at which they
 * meet, and the tensors that they lay open to each other for one operation.
 */
final class Group {
  /**
   * What a member is about to do, laid open to its neighbours in the pod.
   *
   * @param size must be the same for all
   * @param x tensor that the others may read and write, if any
   * @param counts numbers that the others may read, if any
   * @param into tensor that the others may write, if any
   * @param intoStarts numbers that go with it
   * @param figures numbers that the others may read, if any
   */
  @SuppressWarnings("ArrayRecordComponent") // identity is what is meant
  record Offer(
      String operation,
      int size,
      Tensor x,
      int[] counts,
      Tensor into,
      int[] intoStarts,
      double[] figures) {
    /** An operation without numbers. */
    static Offer of(String operation) {
      return new Offer(operation, 0, null, null, null, null, null);
    }

    /** An operation on one tensor of the same size everywhere. */
    static Offer of(String operation, Tensor x) {
      return new Offer(operation, x.size(), x, null, null, null, null);
    }

    /** An operation on one count for each member. */
    static Offer of(String operation, int[] counts) {
      return new Offer(operation, counts.length, null, counts, null, null, null);
    }

    /** An operation on figures. */
    static Offer of(String operation, double[] figures) {
      return new Offer(operation, figures.length, null, null, null, null, figures);
    }
  }

  /** Ranks of the group in its order. */
  final List<Integer> ranks;

  /** Digest of the ranks and the purpose: names the group on the wire. */
  final long digest;

  /** Pod of each member. */
  final int[] podOf;

  /** Place of each member among the members of its own pod. */
  final int[] placeOf;

  /** Members of this pod, by their index in the group, ascending. */
  final int[] here;

  /** Connections to the other pods of the group, by pod, ascending. */
  final Map<Integer, PeerLink> links;

  /** Subtrees of {@link ReductionTree} that one pod combines alone. */
  final List<ReductionTree.Subtree> subtrees;

  /** {@code subtreeEnd[i]}: end of the subtree that begins at member i, 0 when none does. */
  final int[] subtreeEnd;

  /** Members that each pod has at least: so many can work on parts of one reduction. */
  final int lanes;

  final Meeting meeting;
  final Mailboxes mailboxes;
  final Alarm alarm;

  /** Results that the first member here fetches for all; valid between two meetings. */
  double[] figures;

  int[][] exchangedCounts;

  private final Offer[] offers;

  Group(
      List<Integer> ranks,
      String purpose,
      int[] podOf,
      int pod,
      Map<Integer, PeerLink> allLinks,
      Alarm alarm) {
    this.ranks = List.copyOf(ranks);
    this.podOf = podOf.clone();
    this.alarm = alarm;
    placeOf = new int[podOf.length];
    Map<Integer, Integer> members = new TreeMap<>();
    List<Integer> mine = new ArrayList<>();
    for (int i = 0; i < podOf.length; i++) {
      placeOf[i] = members.merge(podOf[i], 1, Integer::sum) - 1;
      if (podOf[i] == pod) {
        mine.add(i);
      }
    }
    here = mine.stream().mapToInt(Integer::intValue).toArray();
    lanes = members.values().stream().mapToInt(Integer::intValue).min().orElseThrow();
    links = new TreeMap<>();
    for (int other : members.keySet()) {
      if (other != pod) {
        links.put(other, allLinks.get(other));
      }
    }
    subtrees = ReductionTree.subtrees(podOf);
    subtreeEnd = new int[podOf.length];
    subtrees.forEach(s -> subtreeEnd[s.first()] = s.end());
    long hash = 0xcbf29ce484222325L; // FNV-1a
    for (int rank : ranks) {
      hash = (hash ^ rank) * 0x100000001b3L;
    }
    for (int i = 0; i < purpose.length(); i++) {
      hash = (hash ^ ~purpose.charAt(i)) * 0x100000001b3L;
    }
    digest = hash;
    meeting = new Meeting(here.length, alarm);
    mailboxes = new Mailboxes(alarm);
    offers = new Offer[here.length];
  }

  int size() {
    return podOf.length;
  }

  /** What the member at index {@code i} of the group, who lives here, has laid open. */
  Offer offer(int i) {
    return offers[placeOf[i]];
  }

  /**
   * Lays open an offer, waits for those of the neighbours, and checks that they agree.
   *
   * @throws IllegalStateException when they do not
   */
  void meet(int index, Offer mine) {
    offers[placeOf[index]] = mine;
    meeting.await();
    for (Offer other : offers) {
      if (!other.operation.equals(mine.operation) || other.size != mine.size) {
        throw new IllegalStateException(
            "ranks of the group "
                + ranks
                + " do not call the same collectives in the same order: "
                + describe(mine)
                + " beside "
                + describe(other));
      }
    }
  }

  private static String describe(Offer offer) {
    return offer.operation + " of size " + offer.size;
  }

  @Override
  public String toString() {
    return "Group" + ranks + " over pods " + Arrays.toString(podOf);
  }
}
