package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;

/**
 * Where each (token, expert) pair of one pass goes: from its rank to the rank that holds the
 * expert, and back. An expert's rows are in the order of (source rank, token), whatever the layout
 * is.
 *
 * <p>S pairs of this rank's tokens, sorted by expert; R rows that this rank's experts work on,
 * sorted by expert and, within one, by source rank.
 */
final class ExpertExchange {
  private final Backend backend;
  private final Collectives group;
  private final int[] slot_TK;
  private final int[] token_S;
  private final int[] sentTo;
  private final int[] receivedFrom;
  private final int[] rowsOfExpert;
  private final int[] toGrouped; // grouped row i is received row toGrouped[i]
  private final int[] toReceived; // and back
  private final int rows;

  /**
   * Plans the exchange; the ranks of the group call it together.
   *
   * @param chosen_TK each token's experts
   * @param counts tokens of this rank for each expert of the model
   */
  ExpertExchange(
      int[] chosen_TK, int chosenPerToken, int[] counts, Backend backend, Collectives group) {
    this.backend = backend;
    this.group = group;
    int experts = counts.length;
    int[] next = new int[experts];
    for (int e = 1; e < experts; e++) {
      next[e] = next[e - 1] + counts[e - 1];
    }
    slot_TK = new int[chosen_TK.length];
    token_S = new int[chosen_TK.length];
    for (int i = 0; i < chosen_TK.length; i++) {
      int slot = next[chosen_TK[i]]++;
      slot_TK[i] = slot;
      token_S[slot] = i / chosenPerToken;
    }
    int ranks = group.size();
    int local = experts / ranks;
    if (ranks == 1) {
      rowsOfExpert = counts;
      rows = chosen_TK.length;
      sentTo = null;
      receivedFrom = null;
      toGrouped = null;
      toReceived = null;
      return;
    }
    int[] countsFrom = exchangeCounts(counts, local);
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
  private int[] exchangeCounts(int[] counts, int local) {
    int ranks = group.size();
    Tensor send = Tensor.zeros(ranks, local); // whole numbers up to 2^24 are exact in float32
    for (int i = 0; i < counts.length; i++) {
      send.floats()[i] = counts[i];
    }
    Tensor receive = Tensor.zeros(ranks, local);
    int[] one = new int[ranks];
    java.util.Arrays.fill(one, 1);
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

  /** Takes each token's row to its experts: [T, C] here to [R, C] there. */
  Tensor dispatch(Tensor x_TC) {
    Tensor send_SC = backend.arena().take(token_S.length, x_TC.dim(1));
    backend.gatherRows(x_TC, token_S, send_SC);
    return toExperts(send_SC);
  }

  /** Takes rows by pair to the experts: [S, C] here to [R, C] there. */
  Tensor toExperts(Tensor send_SC) {
    if (group.size() == 1) {
      return send_SC;
    }
    Tensor received_RC = backend.arena().take(rows, send_SC.dim(1));
    group.allToAll(send_SC, sentTo, received_RC, receivedFrom);
    Tensor grouped_RC = backend.arena().take(rows, send_SC.dim(1));
    backend.gatherRows(received_RC, toGrouped, grouped_RC);
    return grouped_RC;
  }

  /** The way back: [R, C] there to [S, C] here. */
  Tensor fromExperts(Tensor grouped_RC) {
    if (group.size() == 1) {
      return grouped_RC;
    }
    Tensor received_RC = backend.arena().take(rows, grouped_RC.dim(1));
    backend.gatherRows(grouped_RC, toReceived, received_RC);
    Tensor back_SC = backend.arena().take(token_S.length, grouped_RC.dim(1));
    group.allToAll(received_RC, receivedFrom, back_SC, sentTo);
    return back_SC;
  }
}
