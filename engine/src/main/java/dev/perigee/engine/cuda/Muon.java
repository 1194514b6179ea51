package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.Launch.address;
import static dev.perigee.engine.cuda.Launch.integer;
import static dev.perigee.engine.cuda.Launch.map;
import static dev.perigee.engine.cuda.Launch.real;

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
 */
public record Muon(int matrices, int rows, int columns, Rule rule) {
  private static final int THREADS = 256;

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

  private int small() {
    return Math.min(rows, columns);
  }

  private long numbers() {
    return (long) rows * columns;
  }

  /** Blocks that share one matrix in the passes that move memory. */
  private int blocks() {
    return Math.clamp((numbers() / 4 + 8 * THREADS - 1) / (8 * THREADS), 1, 256);
  }

  /** Bytes of scratch memory: the iterate twice, the Gram matrix and the polynomial, the norms. */
  public long scratchBytes() {
    return matrices
        * (2 * up(2 * numbers()) + 2 * up(2L * small() * small()) + up(4L * blocks()) + 256);
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
    launches.addAll(orthogonalize(multiprocessors, z));
    launches.add(
        pass(
            "muon_update",
            address(z.result()),
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

  /** The iteration on {@code z.x_BNM}, whose norms are in {@code z.norm2_B}. */
  private List<Launch> orthogonalize(int multiprocessors, Scratch z) {
    boolean tall = rows > columns;
    int k = small();
    int boxA = tall ? 64 : 128;
    int boxB = tall ? 64 : 256;
    // P = c S S + (a - b²/4c) I with S = G + b/2c I.
    float shift = rule.b / (2 * rule.c);
    float rest = rule.a - rule.b * rule.b / (4 * rule.c);
    List<Launch> launches = new ArrayList<>();
    DeviceBuffer x = z.x_BNM;
    DeviceBuffer next = z.next_BNM;
    for (int step = 0; step < rule.steps; step++) {
      DeviceBuffer norm2 = step == 0 ? z.norm2_B : Dispatch.NONE;
      launches.add(
          product(
              multiprocessors,
              tall ? "symmetric_tall" : "symmetric_wide",
              TensorMap.of(x, matrices, rows, columns, boxA),
              TensorMap.of(x, matrices, rows, columns, boxB),
              TensorMap.of(z.gram_BKK, matrices, k, k, 64),
              norm2,
              k,
              k,
              Math.max(rows, columns),
              /* factor */ 1,
              shift,
              /* power */ -1));
      launches.add(
          product(
              multiprocessors,
              "symmetric_wide",
              TensorMap.of(z.gram_BKK, matrices, k, k, 128),
              TensorMap.of(z.gram_BKK, matrices, k, k, 256),
              TensorMap.of(z.polynomial_BKK, matrices, k, k, 64),
              Dispatch.NONE,
              k,
              k,
              k,
              rule.c,
              rest,
              /* power */ 0));
      launches.add(
          product(
              multiprocessors,
              tall ? "product_tall" : "product_wide",
              tall
                  ? TensorMap.of(x, matrices, rows, columns, 128)
                  : TensorMap.of(z.polynomial_BKK, matrices, k, k, 128),
              tall
                  ? TensorMap.of(z.polynomial_BKK, matrices, k, k, 256)
                  : TensorMap.of(x, matrices, rows, columns, 64),
              TensorMap.of(next, matrices, rows, columns, 64),
              norm2,
              rows,
              columns,
              k,
              /* factor */ 1,
              /* shift */ 0,
              /* power */ -0.5f));
      DeviceBuffer swap = x;
      x = next;
      next = swap;
    }
    return launches;
  }

  private Launch product(
      int multiprocessors,
      String kernel,
      TensorMap a,
      TensorMap b,
      TensorMap d,
      DeviceBuffer norm2,
      int resultRows,
      int resultColumns,
      int depth,
      float factor,
      float shift,
      float power) {
    return new Launch(
        "newton_schulz",
        "newton_schulz_" + kernel,
        Launch.Dim.of(multiprocessors),
        Launch.Dim.of(384),
        GroupedGemm.SHARED_BYTES,
        List.of(
            map(a),
            map(b),
            map(d),
            address(norm2),
            integer(matrices),
            integer(resultRows),
            integer(resultColumns),
            integer(depth),
            real(factor),
            real(shift),
            real(power)),
        toString());
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
    final DeviceBuffer x_BNM;
    final DeviceBuffer next_BNM;
    final DeviceBuffer gram_BKK;
    final DeviceBuffer polynomial_BKK;
    final DeviceBuffer partial;
    final DeviceBuffer norm2_B;

    Scratch(DeviceBuffer all) {
      long numbers = matrices * up(2 * numbers());
      long square = matrices * up(2L * small() * small());
      long at = 0;
      x_BNM = all.slice(at, numbers);
      at += numbers;
      next_BNM = all.slice(at, numbers);
      at += numbers;
      gram_BKK = all.slice(at, square);
      at += square;
      polynomial_BKK = all.slice(at, square);
      at += square;
      partial = all.slice(at, matrices * up(4L * blocks()));
      at += partial.bytes();
      norm2_B = all.slice(at, matrices * 256L);
    }

    DeviceBuffer result() {
      return rule.steps % 2 == 0 ? x_BNM : next_BNM;
    }
  }
}
