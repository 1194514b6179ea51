package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.real;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import java.util.ArrayList;
import java.util.List;

/**
 * Muon's step of many matrices of one shape at once (Kimi K2 report, algorithm 1): momentum,
 * orthogonalisation by Newton and Schulz's iteration, decay, QK-Clip's factors and the rounding to
 * bf16. Kernels: {@code src/main/cuda/muon.cu} and {@code newton_schulz.cu}.
 *
 * <p>Legend: B matrices, N rows, M columns, K the smaller of N and M.
 *
 * @param matrices B
 * @param rows N, divisible by 8
 * @param columns M, divisible by 8
 * @param rule the constants
 * @param form of the iteration
 */
public record Muon(int matrices, int rows, int columns, Rule rule, Form form) {
  private static final int THREADS = 256;

  /** How the iteration is computed; the results differ by rounding. */
  public enum Form {
    /** Every step multiplies the matrix. */
    PLAIN,
    /**
     * Every second step does, and the other one works on its Gram matrix alone: for K2's 2048 x
     * 7168 a quarter less to multiply. In bf16 it is no less exact: two steps of rounding before
     * the Gram matrix is made anew, where three and more at once let it drift.
     */
    GRAM
  }

  /**
   * From this ratio of the sides on the Gram form is chosen: at 1.45 it was seen to gain nothing.
   */
  private static final double GRAM_FROM = 2;

  /** In the form that suits the sides. */
  public Muon(int matrices, int rows, int columns, Rule rule) {
    this(
        matrices,
        rows,
        columns,
        rule,
        Math.max(rows, columns) >= GRAM_FROM * Math.min(rows, columns) ? Form.GRAM : Form.PLAIN);
  }

  /**
   * Constants of the update.
   *
   * @param momentum μ
   * @param nesterov whether the update looks one step ahead
   * @param steps of the iteration, at least 1
   * @param a,b,c of aX + b(XXᵀ)X + c(XXᵀ)²X; c is not 0
   * @param updateRms root mean square of an update's numbers, before the learning rate
   * @param weightDecay λ
   */
  public record Rule(
      float momentum,
      boolean nesterov,
      int steps,
      float a,
      float b,
      float c,
      float updateRms,
      float weightDecay) {
    /** Checks the constants. */
    public Rule {
      if (steps < 1 || c == 0) {
        throw new IllegalArgumentException(
            "the iteration needs at least one step and a quintic term, not steps "
                + steps
                + " and c "
                + c);
      }
    }
  }

  /** Number type of the gradients. */
  public enum Gradient {
    /** bf16. */
    BF16,
    /** float32. */
    FLOAT32
  }

  /** Checks the sizes. */
  public Muon {
    if (matrices < 1 || rows < 8 || columns < 8 || rows % 8 != 0 || columns % 8 != 0) {
      throw new IllegalArgumentException(
          "Muon on the GPU takes at least one matrix with sides divisible by 8, not "
              + matrices
              + " of "
              + rows
              + " x "
              + columns);
    }
  }

  /** K. */
  int small() {
    return Math.min(rows, columns);
  }

  private long numbers() {
    return (long) rows * columns;
  }

  /** Blocks that share one matrix in the passes that move memory. */
  private int blocks() {
    return Math.clamp((numbers() / 4 + 8 * THREADS - 1) / (8 * THREADS), 1, 256);
  }

  /** Bytes of scratch memory: the iterate twice, square matrices, the norms. */
  public long scratchBytes() {
    return matrices * (2 * up(2 * numbers()) + squares() * squareBytes() + up(4L * blocks()) + 256);
  }

  /** Square matrices beside the iterates; the Gram form's two further ones may lie in the next. */
  private int squares() {
    return form == Form.PLAIN || 2 * squareBytes() <= 2 * numbers() ? 2 : 4;
  }

  private long squareBytes() {
    return up(2L * small() * small());
  }

  private static long up(long bytes) {
    return (bytes + 255) / 256 * 256;
  }

  /** Multiplications and additions of the iteration as usually counted, without the symmetry. */
  public double flops() {
    double k = small();
    return matrices * rule.steps * (4.0 * k * numbers() + 2.0 * k * k * k);
  }

  /**
   * One step.
   *
   * @param gradient_BNM of that type
   * @param momentum_BNM float32, changed
   * @param master_BNM the weights in float32, changed
   * @param weight_BNM receives the weights in bf16
   * @param rates two numbers in float32: the learning rate and the gradients' scale, read when it
   *     runs
   * @param clip_BN factors of the new weights' rows, float32, or {@link Dispatch#NONE}
   * @param scratch at least {@link #scratchBytes}; the update's direction is in it afterwards
   */
  public List<Launch> step(
      int multiprocessors,
      Gradient type,
      DeviceBuffer gradient_BNM,
      DeviceBuffer momentum_BNM,
      DeviceBuffer master_BNM,
      DeviceBuffer weight_BNM,
      DeviceBuffer rates,
      DeviceBuffer clip_BN,
      DeviceBuffer scratch) {
    Scratch z = new Scratch(scratch);
    List<Launch> launches = new ArrayList<>();
    launches.add(
        pass(
            type == Gradient.BF16 ? "muon_momentum_bf16" : "muon_momentum_float32",
            address(gradient_BNM),
            address(momentum_BNM),
            address(z.x_BNM),
            address(z.partial),
            address(rates),
            new Launch.Argument.Int64(numbers() / 4),
            real(rule.momentum),
            integer(rule.nesterov ? 1 : 0)));
    launches.add(
        new Launch(
            "muon",
            "muon_norm",
            Launch.Dim.of(matrices),
            Launch.Dim.of(THREADS),
            0,
            List.of(address(z.partial), address(z.norm2_B), integer(blocks())),
            toString()));
    NewtonSchulz iteration = new NewtonSchulz(this, multiprocessors);
    DeviceBuffer direction_BNM = iteration.orthogonalize(z.iteration);
    launches.addAll(iteration.launches());
    launches.add(
        pass(
            "muon_update",
            address(direction_BNM),
            address(master_BNM),
            address(weight_BNM),
            address(clip_BN),
            address(rates),
            new Launch.Argument.Int64(numbers() / 4),
            integer(columns / 4),
            real((float) (rule.updateRms * Math.sqrt(Math.max(rows, columns)))),
            real(rule.weightDecay)));
    return launches;
  }

  private Launch pass(String kernel, Launch.Argument... arguments) {
    return new Launch(
        "muon",
        kernel,
        new Launch.Dim(blocks(), matrices, 1),
        Launch.Dim.of(THREADS),
        0,
        List.of(arguments),
        toString());
  }

  /** The parts of the scratch memory. */
  private final class Scratch {
    private final DeviceBuffer all;
    private long at;
    final DeviceBuffer x_BNM;
    final NewtonSchulz.Memory iteration;
    final DeviceBuffer partial;
    final DeviceBuffer norm2_B;

    Scratch(DeviceBuffer all) {
      this.all = all;
      x_BNM = next(up(2 * numbers()));
      DeviceBuffer next_BNM = next(up(2 * numbers()));
      List<DeviceBuffer> squares_BKK = new ArrayList<>();
      for (int i = 0; i < squares(); i++) {
        squares_BKK.add(next(squareBytes()));
      }
      partial = next(up(4L * blocks()));
      norm2_B = next(256);
      iteration = new NewtonSchulz.Memory(x_BNM, next_BNM, squares_BKK, norm2_B);
    }

    private DeviceBuffer next(long bytesOfAMatrix) {
      DeviceBuffer part = all.slice(at, matrices * bytesOfAMatrix);
      at += part.bytes();
      return part;
    }
  }
}
