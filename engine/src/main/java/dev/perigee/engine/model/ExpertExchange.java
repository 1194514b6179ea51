package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.parallel.Collectives;
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
  private final int[] counts;
  private final int[] slot_TK;
  private final int[] pair_S;
  private final int[] token_S;

  // Known from {@link #agree} on.
  private int[] sentTo;
  private int[] receivedFrom;
  private int[] rowsOfExpert;
  private int[] toGrouped; // grouped row i is received row toGrouped[i]
  private int[] toReceived; // and back
  private int rows;

  /**
   * What this rank has to send.
   *
   * @param chosen_TK each token's experts
   * @param counts tokens of this rank for each expert of the model
   */
  ExpertExchange(
      int[] chosen_TK, int chosenPerToken, int[] counts, Backend backend, Collectives group) {
    this.backend = backend;
    this.group = group;
    this.counts = counts;
    int experts = counts.length;
    int[] next = new int[experts];
    for (int e = 1; e < experts; e++) {
      next[e] = next[e - 1] + counts[e - 1];
    }
    slot_TK = new int[chosen_TK.length];
    pair_S = new int[chosen_TK.length];
    token_S = new int[chosen_TK.length];
    for (int i = 0; i < chosen_TK.length; i++) {
      int slot = next[chosen_TK[i]]++;
      slot_TK[i] = slot;
      pair_S[slot] = i;
      token_S[slot] = i / chosenPerToken;
    }
  }

  /** Learns how many rows come from where. */
  void agree() {
    int ranks = group.size();
    int local = counts.length / ranks;
    if (ranks == 1) {
      rowsOfExpert = counts;
      rows = token_S.length;
      return;
    }
    int[] countsFrom = exchangeCounts(local);
    sentTo = new int[ranks];
    receivedFrom = new int[ranks];
    rowsOfExpert = new int[local];
    for (int r = 0; r < ranks; r++) {
      for (int e = 0; e < local; e++) {
        sentTo[r] += counts[r * local + e];
        receivedFrom[r] += countsFrom[r * local + e];
        rowsOfExpert[e] += countsFrom[r * local + e];
      }
    }
    int total = 0;
    for (int n : receivedFrom) {
      total += n;
    }
    rows = total;
    int[] groupedAt = new int[local];
    for (int e = 1; e < local; e++) {
      groupedAt[e] = groupedAt[e - 1] + rowsOfExpert[e - 1];
    }
    toGrouped = new int[rows];
    toReceived = new int[rows];
    int received = 0;
    for (int r = 0; r < ranks; r++) {
      for (int e = 0; e < local; e++) {
        for (int i = 0; i < countsFrom[r * local + e]; i++) {
          toGrouped[groupedAt[e]] = received;
          toReceived[received++] = groupedAt[e]++;
        }
      }
    }
  }

  /** How many rows every rank sends to each of this rank's experts, [source rank, expert]. */
  private int[] exchangeCounts(int local) {
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

  /** Rows that each of this rank's experts works on. */
  int[] rowsOfExpert() {
    return rowsOfExpert;
  }

  /** Where the pair (token, k) is among this rank's S rows. */
  int[] slot_TK() {
    return slot_TK;
  }

  /** One number for each pair, by expert: [T, K] to [S, 1]. */
  Tensor column(Tensor x_TK) {
    Tensor x_S1 = backend.arena().take(pair_S.length, 1);
    backend.gatherRows(x_TK.view(pair_S.length, 1), pair_S, x_S1);
    return x_S1;
  }

  /** The way back of {@link #column}. */
  void fromColumn(Tensor x_S1, Tensor x_TK) {
    backend.gatherRows(x_S1, slot_TK, x_TK.view(pair_S.length, 1));
  }

  /** A row for each pair, by expert: [T, C] to [S, C]. */
  Tensor rows(Tensor x_TC) {
    Tensor send_SC = backend.arena().take(token_S.length, x_TC.dim(1));
    backend.gatherRows(x_TC, token_S, send_SC);
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

  private Tensor gather(Tensor x_RC, int[] order) {
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
    Tensor back_SC = memory.take(token_S.length, received_RC.dim(1));
    group.allToAll(received_RC, receivedFrom, back_SC, sentTo);
    return back_SC;
  }
}
