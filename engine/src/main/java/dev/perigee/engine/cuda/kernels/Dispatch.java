package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.List;

/**
 * Carries rows of tokens to the experts chosen for them and back. Experts' rows lie one expert
 * after the other, each in the order of tokens, so the result never depends on timing. Kernels:
 * {@code src/main/cuda/dispatch.cu}.
 *
 * <p>Legend: T tokens, K chosen experts of a token, S = T · K rows, E experts, C any width.
 *
 * @param tokens T
 * @param experts E, at most 1024
 * @param chosen K, at most 32
 */
public record Dispatch(int tokens, int experts, int chosen) {
  private static final int CHUNK = 512;
  private static final int TOKENS_OF_A_BLOCK = 8;

  /** Of the 227 KiB that a block on Hopper can have, beside its barriers. */
  private static final int MOST_ROWS_BYTES = 226 << 10;

  /** Checks the sizes. */
  public Dispatch {
    if (experts > 1024 || chosen > 32) {
      throw new IllegalArgumentException(
          "dispatch serves at most 1024 experts and 32 of them for a token, not "
              + experts
              + " and "
              + chosen);
    }
  }

  /** S. */
  public int rows() {
    return tokens * chosen;
  }

  private int chunks() {
    return (rows() + CHUNK - 1) / CHUNK;
  }

  /** Bytes of the scratch memory that {@link #plan} wants. */
  public long scratchBytes() {
    return 4L * chunks() * experts;
  }

  /**
   * Where every row goes. All results are int32.
   *
   * @param expert_TK the chosen experts
   * @param offsets_E1 receives the first row of each expert, and S
   * @param slot_TK receives the row of each assignment
   * @param order_S receives the assignment of each row
   */
  public List<Launch> plan(
      DeviceBuffer expert_TK,
      DeviceBuffer scratch,
      DeviceBuffer offsets_E1,
      DeviceBuffer slot_TK,
      DeviceBuffer order_S) {
    int threads = Math.max(32, Integer.highestOneBit(2 * experts - 1));
    return List.of(
        launch(
            "dispatch_count",
            chunks(),
            32,
            4 * experts,
            address(expert_TK),
            address(scratch),
            integer(rows()),
            integer(experts)),
        launch(
            "dispatch_scan",
            1,
            threads,
            4 * threads,
            address(scratch),
            address(offsets_E1),
            integer(chunks()),
            integer(experts)),
        launch(
            "dispatch_place",
            chunks(),
            32,
            4 * experts,
            address(expert_TK),
            address(scratch),
            address(slot_TK),
            address(order_S),
            integer(rows()),
            integer(experts)));
  }

  /**
   * y[slot[t, j]] = x[t] for every j; bf16.
   *
   * @param hopper whether the GPU has a copy engine, which then carries rows that fit
   * @param width C, divisible by 8
   */
  public Launch rowsToExperts(
      boolean hopper, DeviceBuffer x_TC, DeviceBuffer slot_TK, DeviceBuffer y_SC, int width) {
    int rowsBytes = TOKENS_OF_A_BLOCK * 2 * width;
    boolean engine = hopper && rowsBytes <= MOST_ROWS_BYTES;
    return launch(
        engine ? "dispatch_rows_hopper" : "dispatch_rows",
        (tokens + TOKENS_OF_A_BLOCK - 1) / TOKENS_OF_A_BLOCK,
        256,
        engine ? rowsBytes : 0,
        address(x_TC),
        address(slot_TK),
        address(y_SC),
        integer(tokens),
        integer(chosen),
        integer(eighths(width)));
  }

  /** A missing operand of {@link #combine}. */
  public static final DeviceBuffer NONE = new DeviceBuffer(0, 0);

  /**
   * out[t] = Σ_j weight[t, j] · y[slot[t, j]] + a[t] + b[t]; bf16 with sums in float32.
   *
   * @param weight_TK float32, or {@link #NONE}: every row counts once
   * @param a_TC,b_TC further summands, or {@link #NONE}
   * @param width C, divisible by 8
   */
  public Launch combine(
      DeviceBuffer y_SC,
      DeviceBuffer slot_TK,
      DeviceBuffer weight_TK,
      DeviceBuffer a_TC,
      DeviceBuffer b_TC,
      DeviceBuffer out_TC,
      int width) {
    return launch(
        "combine_rows",
        (tokens + TOKENS_OF_A_BLOCK - 1) / TOKENS_OF_A_BLOCK,
        256,
        0,
        address(y_SC),
        address(slot_TK),
        address(weight_TK),
        address(a_TC),
        address(b_TC),
        address(out_TC),
        integer(tokens),
        integer(chosen),
        integer(eighths(width)));
  }

  private static int eighths(int width) {
    if (width % 8 != 0) {
      throw new IllegalArgumentException("a row's width must be divisible by 8, not " + width);
    }
    return width / 8;
  }

  private Launch launch(
      String kernel, int grid, int block, int shared, Launch.Argument... arguments) {
    return new Launch(
        "dispatch",
        kernel,
        Launch.Dim.of(grid),
        Launch.Dim.of(block),
        shared,
        List.of(arguments),
        toString());
  }
}
