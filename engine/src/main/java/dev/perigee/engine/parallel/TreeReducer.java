package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Frame.Channel;
import dev.perigee.engine.parallel.ReductionTree.Subtree;
import dev.perigee.engine.tensor.Tensor;

/**
 * One member's part in the reduction of tensors that the members of its pod have laid open: combine
 * the pod's own subtrees, exchange them with the other pods chunk by chunk, and combine those.
 * Reductions happen in place in the tensor of a subtree's first member, which works because each
 * element belongs to one member of the pod for the whole operation.
 */
final class TreeReducer {
  /** Floats worked on at once: fits the second-level cache and one frame. */
  static final int CHUNK = Frame.MAX_PAYLOAD_BYTES / Float.BYTES;

  /** Chunks that may be under way to the other pods before their answers are used. */
  private static final int AHEAD = 3;

  private final Group group;
  private final int index;
  private final int[] nothingDone;

  /** What came from the first members of other pods' subtrees, one chunk each. */
  private final float[][] remote;

  TreeReducer(Group group, int index) {
    this.group = group;
    this.index = index;
    this.nothingDone = new int[group.size()];
    this.remote = new float[group.size()][];
  }

  /** The elements {@code from} to {@code end - 1} of one operation. */
  record Range(Reduction reduction, int round, Channel channel, int from, int end) {}

  /** Leaves the result with every member of this pod; the other pods do the same with theirs. */
  void forAll(Range range) {
    int lag = group.links.isEmpty() ? 0 : AHEAD * CHUNK;
    for (int at = range.from; at < range.end + lag; at += CHUNK) {
      if (at < range.end) {
        combineHere(range, at);
        for (PeerLink link : group.links.values()) {
          send(link, range, at);
        }
      }
      int done = at - lag;
      if (done >= range.from && done < range.end) {
        combineAll(range, done);
        for (int i : group.here) {
          take(range, done, group.offer(i).x());
        }
      }
    }
  }

  /** Sends this pod's part to the pod of the member that is to have the result. */
  void forElsewhere(Range range, int owner) {
    PeerLink link = group.links.get(group.podOf[owner]);
    for (int at = range.from; at < range.end; at += CHUNK) {
      combineHere(range, at);
      send(link, range, at);
    }
  }

  /** Leaves the result with this member. */
  void forThis(Range range) {
    for (int at = range.from; at < range.end; at += CHUNK) {
      combineHere(range, at);
      combineAll(range, at);
      take(range, at, group.offer(index).x());
    }
  }

  private static int count(Range range, int at) {
    return Math.min(CHUNK, range.end - at);
  }

  private boolean isHere(int member) {
    return group.podOf[member] == group.podOf[index];
  }

  /** Combines each subtree of this pod into the tensor of its first member. */
  private void combineHere(Range range, int at) {
    for (Subtree subtree : group.subtrees) {
      if (isHere(subtree.first())) {
        ReductionTree.reduce(
            subtree.first(), subtree.end(), nothingDone, (l, r) -> combine(range, at, l, r));
      }
    }
  }

  private void send(PeerLink link, Range range, int at) {
    for (Subtree subtree : group.subtrees) {
      if (isHere(subtree.first())) {
        Tensor x = group.offer(subtree.first()).x();
        link.sendFloats(range.channel, range.round, x.floats(), x.offset() + at, count(range, at));
      }
    }
  }

  /** Gets the other pods' subtrees and combines all into the first member's place. */
  private void combineAll(Range range, int at) {
    for (Subtree subtree : group.subtrees) {
      int first = subtree.first();
      if (!isHere(first)) {
        if (remote[first] == null) {
          remote[first] = new float[CHUNK];
        }
        PeerLink link = group.links.get(subtree.pod());
        link.receiveFloats(range.channel, range.round, remote[first], 0, count(range, at));
      }
    }
    ReductionTree.reduce(0, group.size(), group.subtreeEnd, (l, r) -> combine(range, at, l, r));
  }

  private void combine(Range range, int at, int left, int right) {
    range.reduction.into(
        values(left), start(left, at), values(right), start(right, at), count(range, at));
  }

  private void take(Range range, int at, Tensor to) {
    System.arraycopy(values(0), start(0, at), to.floats(), to.offset() + at, count(range, at));
  }

  private float[] values(int member) {
    return isHere(member) ? group.offer(member).x().floats() : remote[member];
  }

  private int start(int member, int at) {
    return isHere(member) ? group.offer(member).x().offset() + at : 0;
  }
}
