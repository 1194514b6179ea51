package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.ExpertRows;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;

/**
 * Where each (token, expert) pair of one pass goes: from its rank to the rank that holds the
 * expert, and back. An expert's rows are in the order of (source rank, token), whatever the layout
 * is.
 *
 * <p>{@link #agree}, {@link #there} and {@link #back} only exchange; the ranks of the group call
 * them together, on whatever thread. The others only compute, on the rank's thread.
 *
 * <p>S pairs of this rank's tokens, sorted by expert; R rows that this rank's experts work on,
 * sorted by expert and, within one, by source rank.
 */
final class ExpertExchange {
  private final Backend backend;
  private final Collectives group;
  private final ExpertRows sent;

  // Known from {@link #agree} on.
  private int[] sentTo;
  private int[] receivedFrom;
  private Indices offsets_E1;
  private Indices toGrouped; // grouped row i is received row toGrouped[i]
  private Indices toReceived; // and back
  private int rows;

  /**
   * What this rank has to send.
   *
   * @param sent its pairs, by the expert of the model
   */
  ExpertExchange(ExpertRows sent, Backend backend, Collectives group) {
    this.backend = backend;
    this.group = group;
    this.sent = sent;
    if (group.size() > 1) {
      sent.offsets_E1().fetch(); // agree() needs them, on a thread that is not to wait for more
    }
  }

  /** Learns how many rows come from where. */
  void agree() {
    int ranks = group.size();
    if (ranks == 1) {
      offsets_E1 = sent.offsets_E1();
      rows = pairs();
      return;
    }
    int[] first = sent.offsets_E1().onHost();
    int local = (first.length - 1) / ranks;
    int[] counts = new int[ranks * local];
    Arrays.setAll(counts, e -> first[e + 1] - first[e]);
    int[] countsFrom = exchangeCounts(counts, local);
    sentTo = new int[ranks];
    receivedFrom = new int[ranks];
    int[] offsets = new int[local + 1];
    for (int r = 0; r < ranks; r++) {
      for (int e = 0; e < local; e++) {
        sentTo[r] += counts[r * local + e];
        receivedFrom[r] += countsFrom[r * local + e];
        offsets[e + 1] += countsFrom[r * local + e];
      }
    }
    for (int e = 0; e < local; e++) {
      offsets[e + 1] += offsets[e];
    }
    rows = offsets[local];
    int[] groupedAt = offsets.clone();
    int[] grouped = new int[rows];
    int[] arrived = new int[rows];
    int received = 0;
    for (int r = 0; r < ranks; r++) {
      for (int e = 0; e < local; e++) {
        for (int i = 0; i < countsFrom[r * local + e]; i++) {
          grouped[groupedAt[e]] = received;
          arrived[received++] = groupedAt[e]++;
        }
      }
    }
    offsets_E1 = Indices.of(offsets);
    toGrouped = Indices.of(grouped);
    toReceived = Indices.of(arrived);
  }

  private int pairs() {
    return sent.pair_S().size();
  }

  /** How many rows every rank sends to each of this rank's experts, [source rank, expert]. */
  private int[] exchangeCounts(int[] counts, int local) {
    int ranks = group.size();
    Tensor send = Tensor.zeros(ranks, local); // whole numbers up to 2^24 are exact in float32
    for (int i = 0; i < counts.length; i++) {
      send.floats()[i] = counts[i];
    }
    Tensor receive = Tensor.zeros(ranks, local);
    int[] one = new int[ranks];
    Arrays.fill(one, 1);
    group.allToAll(send, one, receive, one);
    int[] from = new int[ranks * local];
    for (int i = 0; i < from.length; i++) {
      from[i] = (int) receive.floats()[i];
    }
    return from;
  }

  /** Where the rows of each of this rank's experts begin, and how many there are. */
  Indices offsets_E1() {
    return offsets_E1;
  }

  /** Where the pair (token, k) is among this rank's S rows. */
  Indices slot_TK() {
    return sent.slot_TK();
  }

  /** One number for each pair, by expert: [T, K] to [S, 1]. */
  Tensor column(Tensor x_TK) {
    Tensor x_S1 = backend.arena().takeFloats(pairs(), 1);
    backend.gatherRows(x_TK.view(pairs(), 1), sent.pair_S(), x_S1);
    return x_S1;
  }

  /** The way back of {@link #column}. */
  void fromColumn(Tensor x_S1, Tensor x_TK) {
    backend.gatherRows(x_S1, sent.slot_TK(), x_TK.view(pairs(), 1));
  }

  /** A row for each pair, by expert: [T, C] to [S, C]. */
  Tensor rows(Tensor x_TC) {
    Tensor send_SC = backend.arena().take(pairs(), x_TC.dim(1));
    backend.spreadRows(x_TC, sent.slot_TK(), send_SC);
    return send_SC;
  }

  /** Takes rows to the ranks of their experts: [S, C] here to [R, C] there, as they arrive. */
  Tensor there(Tensor send_SC, Arena.Region memory) {
    if (group.size() == 1) {
      return send_SC;
    }
    Tensor received_RC = memory.take(rows, send_SC.dim(1));
    group.allToAll(send_SC, sentTo, received_RC, receivedFrom);
    return received_RC;
  }

  /** Sorts rows that have arrived by expert. */
  Tensor group(Tensor received_RC) {
    return gather(received_RC, toGrouped);
  }

  /** Sorts rows by expert into the order in which they arrived. */
  Tensor ungroup(Tensor grouped_RC) {
    return gather(grouped_RC, toReceived);
  }

  private Tensor gather(Tensor x_RC, Indices order) {
    if (group.size() == 1) {
      return x_RC;
    }
    Tensor y_RC = backend.arena().take(rows, x_RC.dim(1));
    backend.gatherRows(x_RC, order, y_RC);
    return y_RC;
  }

  /** The way back: [R, C] there, in the order of their arrival, to [S, C] here. */
  Tensor back(Tensor received_RC, Arena.Region memory) {
    if (group.size() == 1) {
      return received_RC;
    }
    Tensor back_SC = memory.take(pairs(), received_RC.dim(1));
    group.allToAll(received_RC, receivedFrom, back_SC, sentTo);
    return back_SC;
  }
}
