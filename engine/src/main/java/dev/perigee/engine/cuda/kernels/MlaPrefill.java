package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.map;
import static dev.perigee.engine.cuda.driver.Launch.real;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.TensorMap;
import java.util.List;

/**
 * Causal latent attention for training and prefill, forward and backward, on the projections'
 * results where they lie (DeepSeek-V2, section 2.1, not absorbed). Kernels: {@code
 * src/main/cuda/mla_prefill.cu}. The same bits every time: nothing is added in the order of timing.
 *
 * <p>Legend: B sequences, S tokens of each, H heads, Q = {@value #QUERY} numbers of a query
 * ({@value #NOPE} without position, then {@value #ROPE} rotated), C = {@value #PAIR} of a key
 * without position and a value, R = {@value #ROPE} rotated numbers of a key, V = {@value #VALUE}, P
 * = S up to a multiple of 128. bf16, except {@code lse} and {@code delta} in float32.
 *
 * @param sequences B
 * @param tokens S
 * @param heads H
 * @param scale of the logits
 */
public record MlaPrefill(int sequences, int tokens, int heads, float scale) {
  /** Numbers of a query or key without position. */
  public static final int NOPE = 128;

  /** Rotated numbers of a query or key. */
  public static final int ROPE = 64;

  /** Numbers of a query. */
  public static final int QUERY = NOPE + ROPE;

  /** Numbers of a value. */
  public static final int VALUE = 128;

  /** Numbers of a head's key without position and its value. */
  public static final int PAIR = NOPE + VALUE;

  private static final int ROWS = 128;
  private static final int BOX = 64 * 128;

  /** Forward: queries, two stages of keys and values, barriers, room to align. */
  static final int FORWARD_BYTES = 2 * (3 + 2 * 5) * BOX + 80 + 1024;

  /** Backward: five boxes of 128 rows, three stages of five boxes, lse and delta, barriers. */
  static final int BACKWARD_BYTES = (2 * 5 + 3 * 5) * BOX + 3 * 2 * 64 * 4 + 64 + 1024;

  /** Checks the sizes. */
  public MlaPrefill {
    if (sequences < 1 || tokens < 1 || heads < 1) {
      throw new IllegalArgumentException(
          "attention takes at least one sequence, token and head, not "
              + sequences
              + ", "
              + tokens
              + " and "
              + heads);
    }
  }

  private int padded() {
    return (tokens + ROWS - 1) / ROWS * ROWS;
  }

  /** Bytes of {@code lse_BHP}, and of {@code delta_BHP}. */
  public long rowBytes() {
    return 4L * sequences * heads * padded();
  }

  /** Bytes of backward's scratch memory: delta, and each head's part of the rotated gradient. */
  public long scratchBytes() {
    return rowBytes() + 2L * sequences * tokens * heads * ROPE;
  }

  /**
   * Multiplications and additions of forward: half of all pairs; backward has 2.6 times as many.
   */
  public double flops() {
    return (double) sequences * heads * tokens * tokens * (QUERY + VALUE);
  }

  /**
   * out and what backward wants.
   *
   * @param q_BSHQ queries
   * @param kv_BSHC each head's key without position, then its value
   * @param kr_BSR the rotated part of the keys, which the heads share
   * @param out_BSHV receives the weighted values
   * @param lse_BHP receives log2 of the sums of exponentials; infinite where there is no token
   * @param largest_H raised to each head's largest scaled logit, float32, or {@link Dispatch#NONE};
   *     see {@link #beginLargest}
   */
  public List<Launch> forward(
      int multiprocessors,
      DeviceBuffer q_BSHQ,
      DeviceBuffer kv_BSHC,
      DeviceBuffer kr_BSR,
      DeviceBuffer out_BSHV,
      DeviceBuffer lse_BHP,
      DeviceBuffer largest_H) {
    return List.of(
        launch(
            "mla_prefill_forward",
            multiprocessors,
            384,
            FORWARD_BYTES,
            map(rows(q_BSHQ, heads * QUERY)),
            map(rows(kv_BSHC, heads * PAIR)),
            map(rows(kr_BSR, ROPE)),
            address(out_BSHV),
            address(lse_BHP),
            address(largest_H),
            integer(sequences),
            integer(tokens),
            integer(heads),
            real(scale)));
  }

  /** Before the first micro-batch of a step: no logit has been seen. */
  public Launch beginLargest(DeviceBuffer largest_H) {
    return launch(
        "mla_prefill_begin", (heads + 63) / 64, 64, 0, address(largest_H), integer(heads));
  }

  /**
   * The gradients, which are written, not added.
   *
   * @param out_BSHV,lse_BHP of forward
   * @param dout_BSHV the output's gradient
   * @param dq_BSHQ,dkv_BSHC,dkr_BSR receive the inputs' gradients
   * @param scratch at least {@link #scratchBytes}
   */
  public List<Launch> backward(
      int multiprocessors,
      DeviceBuffer q_BSHQ,
      DeviceBuffer kv_BSHC,
      DeviceBuffer kr_BSR,
      DeviceBuffer out_BSHV,
      DeviceBuffer lse_BHP,
      DeviceBuffer dout_BSHV,
      DeviceBuffer dq_BSHQ,
      DeviceBuffer dkv_BSHC,
      DeviceBuffer dkr_BSR,
      DeviceBuffer scratch) {
    DeviceBuffer delta_BHP = scratch.slice(0, rowBytes());
    DeviceBuffer dkr_BSHR = scratch.slice(rowBytes(), scratchBytes() - rowBytes());
    Launch.Argument q = map(rows(q_BSHQ, heads * QUERY));
    Launch.Argument kv = map(rows(kv_BSHC, heads * PAIR));
    Launch.Argument kr = map(rows(kr_BSR, ROPE));
    Launch.Argument dout = map(rows(dout_BSHV, heads * VALUE));
    return List.of(
        launch(
            "mla_prefill_delta",
            Math.toIntExact((rowBytes() / 4 + 7) / 8),
            256,
            0,
            address(out_BSHV),
            address(dout_BSHV),
            address(delta_BHP),
            integer(sequences),
            integer(tokens),
            integer(heads),
            integer(padded())),
        launch(
            "mla_prefill_dkv",
            multiprocessors,
            384,
            BACKWARD_BYTES,
            q,
            kv,
            kr,
            dout,
            address(lse_BHP),
            address(delta_BHP),
            address(dkv_BSHC),
            address(dkr_BSHR),
            integer(sequences),
            integer(tokens),
            integer(heads),
            real(scale)),
        launch(
            "mla_prefill_dkr",
            (sequences * tokens + 7) / 8,
            256,
            0,
            address(dkr_BSHR),
            address(dkr_BSR),
            integer(sequences * tokens),
            integer(heads)),
        launch(
            "mla_prefill_dq",
            multiprocessors,
            384,
            BACKWARD_BYTES,
            q,
            kv,
            kr,
            dout,
            address(lse_BHP),
            address(delta_BHP),
            address(dq_BSHQ),
            integer(sequences),
            integer(tokens),
            integer(heads),
            real(scale)));
  }

  /** Boxes of 64 tokens; what lies past a sequence's end reads as zero. */
  private TensorMap rows(DeviceBuffer x, int width) {
    return TensorMap.of(x, sequences, tokens, width, 64);
  }

  private Launch launch(
      String kernel, int grid, int block, int shared, Launch.Argument... arguments) {
    return new Launch(
        "mla_prefill",
        kernel,
        Launch.Dim.of(grid),
        Launch.Dim.of(block),
        shared,
        List.of(arguments),
        toString());
  }
}
