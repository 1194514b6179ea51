package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.map;
import static dev.perigee.engine.cuda.driver.Launch.tickets;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.TensorMap;
import java.util.List;

/**
 * The products of an expert layer: every expert multiplies its own rows by its own matrix. How many
 * rows an expert has is read on the device, so that no count visits the host and a captured launch
 * serves any routing. Kernels: {@code src/main/cuda/grouped_gemm.cu}.
 *
 * <p>Legend: E experts, S rows of all experts, I inputs, O outputs, F width of a feed-forward part.
 * Everything is bf16 and row-major except {@code offsets_E1}, E + 1 integers of 32 bits: the rows
 * of expert e are those from offsets[e] to offsets[e + 1], without gaps. Sums are in float32.
 */
public final class GroupedGemm {
  private static final String MODULE = "grouped_gemm";
  private static final int TILE_M = 128;
  private static final int TILE_N = 256;
  private static final int TILE_K = 64;
  private static final int STAGES = 4;
  private static final int ROWS_OF_A_WARP = 16;

  /** The share of an expert's tiles that may be left without a partner on average. */
  private static final double MOST_ALONE = 1 / 16.0;

  /** Shared memory of a block: stages, four output blocks, barriers, a tile, room to align. */
  static final int SHARED_BYTES =
      STAGES * (TILE_M + TILE_N) * TILE_K * 2 + 4 * 64 * 64 * 2 + 2 * STAGES * 8 + 8 * 8 + 1024;

  /**
   * Sizes of a product y_SO = x_SI · w_EOIᵀ.
   *
   * @param experts number of matrices
   * @param rows room for rows of all experts together; offsets[E] may be less
   * @param inputs columns of x, divisible by 8
   * @param outputs columns of y, divisible by 8
   */
  public record Sizes(int experts, int rows, int inputs, int outputs) {
    /** Checks the sizes. */
    public Sizes {
      if (experts < 1 || rows < 1 || inputs < 8 || outputs < 8) {
        throw new IllegalArgumentException(
            "a grouped product needs at least one expert and row and 8 columns, not "
                + experts
                + " experts, "
                + rows
                + " rows, "
                + inputs
                + " inputs and "
                + outputs
                + " outputs");
      }
      if (inputs % 8 != 0 || outputs % 8 != 0) {
        throw new IllegalArgumentException(
            "the copy engine needs widths divisible by 8, not "
                + inputs
                + " inputs and "
                + outputs
                + " outputs");
      }
    }

    /** Operations of all rows: a multiplication and an addition each. */
    public double flops() {
      return 2.0 * rows * inputs * outputs;
    }

    @Override
    public String toString() {
      return experts + " experts, " + rows + " rows, " + inputs + " to " + outputs;
    }
  }

  private GroupedGemm() {}

  /** y = x · w[e]ᵀ. One block stays on each of the multiprocessors, here and below. */
  public static Launch forward(
      int multiprocessors,
      Sizes s,
      DeviceBuffer x_SI,
      DeviceBuffer w_EOI,
      DeviceBuffer offsets_E1,
      DeviceBuffer y_SO) {
    boolean pair = pairs(multiprocessors, s, s.outputs, TILE_N);
    return hopper(
        "grouped_gemm_forward",
        pair,
        multiprocessors,
        s,
        List.of(
            map(rows(s, x_SI, s.inputs, 64)),
            map(TensorMap.of(w_EOI, s.experts, s.outputs, s.inputs, TILE_N / 2)),
            map(rows(s, y_SO, s.outputs, 64)),
            address(offsets_E1),
            tickets(),
            integer(s.experts),
            integer(s.rows),
            integer(s.outputs),
            integer(s.inputs)));
  }

  /**
   * h = x · w[e]ᵀ and a = silu(gate) · up, where gate and up are the halves of a row of h.
   *
   * @param s with outputs 2 F
   * @param w_EGI matrices [2 F, I], the gate's rows first
   * @param h_SG receives rows of 2 F, which backward wants
   * @param a_SF receives rows of F
   */
  public static Launch forwardSwiGlu(
      int multiprocessors,
      Sizes s,
      DeviceBuffer x_SI,
      DeviceBuffer w_EGI,
      DeviceBuffer offsets_E1,
      DeviceBuffer h_SG,
      DeviceBuffer a_SF) {
    int f = s.outputs / 2;
    if (f % 8 != 0) {
      throw new IllegalArgumentException("a feed-forward width must be divisible by 8, not " + f);
    }
    boolean pair = pairs(multiprocessors, s, f, TILE_N / 2);
    return hopper(
        "grouped_gemm_swiglu",
        pair,
        multiprocessors,
        s,
        List.of(
            map(rows(s, x_SI, s.inputs, 64)),
            map(TensorMap.of(w_EGI, 2L * s.experts, f, s.inputs, TILE_N / 2)),
            map(gate(s, h_SG, f, 64)),
            map(up(s, h_SG, f, 64)),
            map(rows(s, a_SF, f, 64)),
            address(offsets_E1),
            tickets(),
            integer(s.experts),
            integer(s.rows),
            integer(f),
            integer(s.inputs)));
  }

  /** dx = dy · w[e]. */
  public static Launch inputGradient(
      int multiprocessors,
      Sizes s,
      DeviceBuffer dy_SO,
      DeviceBuffer w_EOI,
      DeviceBuffer offsets_E1,
      DeviceBuffer dx_SI) {
    boolean pair = pairs(multiprocessors, s, s.inputs, TILE_N);
    return hopper(
        "grouped_gemm_input_gradient",
        pair,
        multiprocessors,
        s,
        List.of(
            map(rows(s, dy_SO, s.outputs, 64)),
            map(TensorMap.of(w_EOI, s.experts, s.outputs, s.inputs, 64)),
            map(rows(s, dx_SI, s.inputs, 64)),
            address(offsets_E1),
            tickets(),
            integer(s.experts),
            integer(s.rows),
            integer(s.inputs),
            integer(s.outputs)));
  }

  /**
   * The input gradient of a down projection and the gradient of SwiGLU before it, without the
   * gradient of the activation in memory: u = dy · w[e], of which {@link SwiGlu#backward} makes
   * these results. Kernel: {@code grouped_swiglu_gradient.cu}.
   *
   * @param s with inputs F
   * @param w_EOF matrices [O, F]
   * @param h_SG rows of 2 F, gate and up, that {@link #forwardSwiGlu} left
   * @param order_S the assignment of each row, or {@link Dispatch#NONE}: the weights are one
   * @param weight by assignment, float32
   * @param dh_SG receives the gradient of h
   * @param scaled_SF receives weight · silu(gate) · up
   * @param dweight_PS receives {@link #dweightParts} parts of u · silu(gate) · up, by assignment,
   *     float32
   */
  public static Launch inputGradientSwiGlu(
      int multiprocessors,
      Sizes s,
      DeviceBuffer dy_SO,
      DeviceBuffer w_EOF,
      DeviceBuffer offsets_E1,
      DeviceBuffer h_SG,
      DeviceBuffer order_S,
      DeviceBuffer weight,
      DeviceBuffer dh_SG,
      DeviceBuffer scaled_SF,
      DeviceBuffer dweight_PS) {
    boolean pair = pairs(multiprocessors, s, s.inputs, TILE_N);
    return hopper(
        "grouped_swiglu_gradient",
        "grouped_swiglu_gradient",
        pair,
        multiprocessors,
        s,
        List.of(
            map(rows(s, dy_SO, s.outputs, 64)),
            map(TensorMap.of(w_EOF, s.experts, s.outputs, s.inputs, 64)),
            map(halves(h_SG, s.rows, s.inputs)),
            map(gate(s, dh_SG, s.inputs, ROWS_OF_A_WARP)),
            map(up(s, dh_SG, s.inputs, ROWS_OF_A_WARP)),
            map(rows(s, scaled_SF, s.inputs, ROWS_OF_A_WARP)),
            address(order_S),
            address(weight),
            address(dweight_PS),
            address(offsets_E1),
            tickets(),
            integer(s.experts),
            integer(s.inputs),
            integer(s.outputs),
            integer(s.rows)));
  }

  /** Parts that the gradient of a row's weight comes in, for an expert's width F. */
  public static int dweightParts(int width) {
    return (width + TILE_N - 1) / TILE_N;
  }

  /** Rows of all experts, each expert's with an end of their own. */
  private static TensorMap rows(Sizes s, DeviceBuffer x, int columns, int boxRows) {
    return TensorMap.ragged(x, s.rows, columns, columns, boxRows);
  }

  /** The first halves of rows of [gate, up]. */
  private static TensorMap gate(Sizes s, DeviceBuffer h_SG, int width, int boxRows) {
    return TensorMap.ragged(h_SG, s.rows, width, 2L * width, boxRows);
  }

  /** The second. */
  private static TensorMap up(Sizes s, DeviceBuffer h_SG, int width, int boxRows) {
    long first = 2L * width;
    return TensorMap.ragged(
        h_SG.slice(first, h_SG.bytes() - first), s.rows, width, 2L * width, boxRows);
  }

  /** Rows of [gate, up] as two planes of F columns. */
  private static TensorMap halves(DeviceBuffer h_SG, int rows, int width) {
    return new TensorMap(h_SG.address(), width, rows, 2, 4L * width, 2L * width, 64, 64);
  }

  /** dw[e] = dyᵀ · x over the rows of e; zero for an expert without rows. */
  public static Launch weightGradient(
      int multiprocessors,
      Sizes s,
      DeviceBuffer dy_SO,
      DeviceBuffer x_SI,
      DeviceBuffer offsets_E1,
      DeviceBuffer dw_EOI) {
    TensorMap dy = TensorMap.of(dy_SO, 1, s.rows, s.outputs, 64);
    TensorMap x = TensorMap.of(x_SI, 1, s.rows, s.inputs, 64);
    boolean transposed = tiles(s.inputs, s.outputs) < tiles(s.outputs, s.inputs);
    int m = transposed ? s.inputs : s.outputs;
    int n = transposed ? s.outputs : s.inputs;
    return hopper(
        transposed ? "grouped_gemm_weight_gradient_transposed" : "grouped_gemm_weight_gradient",
        pairsOfMatrix(multiprocessors, m, n),
        multiprocessors,
        s,
        List.of(
            map(transposed ? x : dy),
            map(transposed ? dy : x),
            map(TensorMap.of(dw_EOI, s.experts, s.outputs, s.inputs, 64)),
            address(offsets_E1),
            tickets(),
            integer(s.experts),
            integer(m),
            integer(n)));
  }

  /** Tiles of a matrix of m by n. */
  private static int tiles(int m, int n) {
    return (m + TILE_M - 1) / TILE_M * ((n + TILE_N - 1) / TILE_N);
  }

  /**
   * The same in float32.
   *
   * @param accumulate adds to what {@code dw_EOI} holds, as every micro-batch after the first does
   */
  public static Launch weightGradientFloat32(
      int multiprocessors,
      Sizes s,
      DeviceBuffer dy_SO,
      DeviceBuffer x_SI,
      DeviceBuffer offsets_E1,
      DeviceBuffer dw_EOI,
      boolean accumulate) {
    return hopper(
        "grouped_gemm_weight_gradient_float32",
        pairsOfMatrix(multiprocessors, s.outputs, s.inputs),
        multiprocessors,
        s,
        List.of(
            map(TensorMap.of(dy_SO, 1, s.rows, s.outputs, 64)),
            map(TensorMap.of(x_SI, 1, s.rows, s.inputs, 64)),
            map(TensorMap.ofFloats(dw_EOI, s.experts, s.outputs, s.inputs, 64)),
            address(offsets_E1),
            tickets(),
            integer(s.experts),
            integer(s.outputs),
            integer(s.inputs),
            integer(accumulate ? 1 : 0)));
  }

  /**
   * Whether blocks walk a product's tiles, {@code tile} columns wide, in pairs (see {@code
   * grouped_tiles.cuh}): where few are left without a partner, which is one of an odd number across
   * in the half of the experts whose number down is odd too.
   */
  private static boolean pairs(int multiprocessors, Sizes s, int n, int tile) {
    int across = (n + tile - 1) / tile;
    double down = Math.max(1, (double) s.rows / s.experts / TILE_M);
    return multiprocessors % 2 == 0 && across % 2 / 2.0 <= MOST_ALONE * across * down;
  }

  /** The same for a weight gradient of m by n. */
  private static boolean pairsOfMatrix(int multiprocessors, int m, int n) {
    int down = (m + TILE_M - 1) / TILE_M;
    int across = (n + TILE_N - 1) / TILE_N;
    return multiprocessors % 2 == 0 && down % 2 * (across % 2) <= MOST_ALONE * across * down;
  }

  private static Launch hopper(
      String kernel, boolean pair, int multiprocessors, Sizes s, List<Launch.Argument> arguments) {
    return hopper(MODULE, kernel, pair, multiprocessors, s, arguments);
  }

  private static Launch hopper(
      String module,
      String kernel,
      boolean pair,
      int multiprocessors,
      Sizes s,
      List<Launch.Argument> arguments) {
    return new Launch(
        module,
        pair ? kernel + "_pair" : kernel,
        Launch.Dim.of(multiprocessors),
        Launch.Dim.of(384),
        SHARED_BYTES,
        arguments,
        s.toString());
  }

  /** Number type of a plain twin's inputs; its output is float32. */
  public enum Inputs {
    /** bf16. */
    BF16("plain"),
    /** float32. */
    FLOAT32("float");

    private final String suffix;

    Inputs(String suffix) {
      this.suffix = suffix;
    }
  }

  /** {@link #forward} without tensor cores, for any GPU; y in float32. */
  public static Launch forwardPlain(
      Inputs t, Sizes s, DeviceBuffer x, DeviceBuffer w, DeviceBuffer offsets, DeviceBuffer y) {
    return plain("forward", t, s, x, w, y, offsets, s.rows, s.outputs, s.inputs);
  }

  /** {@link #inputGradient} without tensor cores, for any GPU; dx in float32. */
  public static Launch inputGradientPlain(
      Inputs t, Sizes s, DeviceBuffer dy, DeviceBuffer w, DeviceBuffer offsets, DeviceBuffer dx) {
    return plain("input_gradient", t, s, dy, w, dx, offsets, s.rows, s.inputs, s.outputs);
  }

  /** {@link #weightGradient} without tensor cores, for any GPU; dw in float32. */
  public static Launch weightGradientPlain(
      Inputs t, Sizes s, DeviceBuffer dy, DeviceBuffer x, DeviceBuffer offsets, DeviceBuffer dw) {
    return plain("weight_gradient", t, s, dy, x, dw, offsets, s.outputs, s.inputs, 0);
  }

  private static Launch plain(
      String operation,
      Inputs t,
      Sizes s,
      DeviceBuffer a,
      DeviceBuffer b,
      DeviceBuffer d,
      DeviceBuffer offsets,
      int m,
      int n,
      int k) {
    return new Launch(
        MODULE,
        "grouped_gemm_" + operation + "_" + t.suffix,
        new Launch.Dim((n + 15) / 16, Math.min((m + 15) / 16, 64), s.experts),
        new Launch.Dim(16, 16, 1),
        0,
        List.of(
            address(a),
            address(b),
            address(d),
            address(offsets),
            integer(m),
            integer(n),
            integer(k)),
        s.toString());
  }
}
