package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.Launch.address;
import static dev.perigee.engine.cuda.Launch.integer;
import static dev.perigee.engine.cuda.Launch.map;
import static dev.perigee.engine.cuda.Launch.real;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * The last product of a language model with its loss and both gradients, a chunk of tokens at a
 * time: memory for one chunk's logits is all that it takes. Kernels: {@code
 * src/main/cuda/linear_cross_entropy.cu} and {@code grouped_gemm.cu}.
 *
 * <p>Legend: T tokens, H hidden, V vocabulary, C tokens of a chunk.
 */
public final class LinearCrossEntropy {
  private static final int TILE_M = 128;
  private static final int TILE_N = 256;

  /**
   * Sizes.
   *
   * @param tokens T
   * @param hidden H, divisible by 8
   * @param vocabulary V, divisible by 8
   * @param chunk C: a multiple of 128 whose gradient of x has about as many tiles of 128 x 256 as
   *     there are multiprocessors keeps them all busy (2048 at hidden 2048)
   */
  public record Sizes(int tokens, int hidden, int vocabulary, int chunk) {
    /** Checks the sizes. */
    public Sizes {
      if (tokens < 1 || chunk < 1) {
        throw new IllegalArgumentException(
            "the loss needs at least one token, and one in a chunk, not "
                + tokens
                + " and "
                + chunk);
      }
      if (hidden % 8 != 0 || vocabulary % 8 != 0) {
        throw new IllegalArgumentException(
            "the copy engine needs widths divisible by 8, not hidden "
                + hidden
                + " and vocabulary "
                + vocabulary);
      }
    }

    private int rows() {
      return Math.min(chunk, tokens);
    }

    private int tiles() {
      return (vocabulary + TILE_N - 1) / TILE_N;
    }

    /** Multiplications and additions of the three products. */
    public double flops() {
      return 6.0 * tokens * hidden * vocabulary;
    }

    /** {0, rows} of a whole chunk and of the last one. */
    int[] offsets() {
      return new int[] {0, rows(), 0, (tokens - 1) % chunk + 1};
    }

    /** Bytes of working memory beside inputs and results. */
    public long workingBytes() {
      return rows() * (2L * vocabulary + 8L * tiles() + 4) + 16;
    }
  }

  private final Sizes z;
  private final DeviceBuffer logits_CV;
  private final DeviceBuffer part_CN;
  private final DeviceBuffer lse_C;

  /** {0, C} and {0, the last chunk's tokens}: rows of the one matrix of the products. */
  private final DeviceBuffer rows;

  /** Takes {@link Sizes#workingBytes} in {@code arena}. */
  public LinearCrossEntropy(Device device, DeviceMemory arena, Sizes z) {
    this(z, arena.allocate(z.workingBytes() - 16), arena.allocate(16));
    ByteBuffer host = arena.pinned(16);
    host.asIntBuffer().put(z.offsets());
    device.compute().upload(host, rows);
    device.compute().synchronize();
  }

  /**
   * In memory of the caller's.
   *
   * @param working at least {@link Sizes#workingBytes}
   * @param rows holds {@link Sizes#offsets} when the launches run
   */
  LinearCrossEntropy(Sizes z, DeviceBuffer working, DeviceBuffer rows) {
    this.z = z;
    long logits = 2L * z.rows() * z.vocabulary;
    long parts = 8L * z.rows() * z.tiles();
    logits_CV = working.slice(0, logits);
    part_CN = working.slice(logits, parts);
    lse_C = working.slice(logits + parts, 4L * z.rows());
    this.rows = rows;
  }

  /**
   * The losses and the gradients of {@code scale} times their sum.
   *
   * @param x_TH bf16
   * @param w_VH bf16
   * @param target_T int32; negative: this token does not count
   * @param scale of the gradients: one over the tokens that count, for the mean
   * @param loss_T receives float32; 0 where there is no target
   * @param dx_TH receives bf16
   * @param dw_VH receives float32
   * @param accumulate adds to what {@code dw_VH} holds
   */
  public List<Launch> lossAndGradients(
      int multiprocessors,
      DeviceBuffer x_TH,
      DeviceBuffer w_VH,
      DeviceBuffer target_T,
      float scale,
      DeviceBuffer loss_T,
      DeviceBuffer dx_TH,
      DeviceBuffer dw_VH,
      boolean accumulate) {
    List<Launch> launches = new ArrayList<>();
    for (int t = 0; t < z.tokens; t += z.chunk) {
      int count = Math.min(z.chunk, z.tokens - t);
      DeviceBuffer x = x_TH.slice(2L * t * z.hidden, 2L * count * z.hidden);
      DeviceBuffer dx = dx_TH.slice(2L * t * z.hidden, 2L * count * z.hidden);
      DeviceBuffer target = target_T.slice(4L * t, 4L * count);
      DeviceBuffer logits = logits_CV.slice(0, 2L * count * z.vocabulary);
      DeviceBuffer offsets = rows.slice(t + z.chunk < z.tokens ? 0 : 8, 8);
      launches.add(
          launch(
              "cross_entropy_logits",
              Launch.Dim.of(multiprocessors),
              384,
              GroupedGemm.SHARED_BYTES,
              map(TensorMap.of(x, 1, count, z.hidden, TILE_M)),
              map(TensorMap.of(w_VH, 1, z.vocabulary, z.hidden, TILE_N)),
              map(TensorMap.of(logits, 1, count, z.vocabulary, 64)), // 16 bits are 16 bits
              address(part_CN),
              integer(count),
              integer(z.vocabulary),
              integer(z.hidden)));
      launches.add(
          launch(
              "cross_entropy_loss",
              Launch.Dim.of((count + 7) / 8),
              256,
              0,
              address(part_CN),
              address(logits),
              address(target),
              address(lse_C),
              address(loss_T.slice(4L * t, 4L * count)),
              integer(count),
              integer(z.vocabulary),
              integer(z.tiles())));
      launches.add(
          launch(
              "cross_entropy_gradient",
              new Launch.Dim(Math.clamp(z.vocabulary / 8192, 1, 64), count, 1),
              256,
              0,
              address(logits),
              address(target),
              address(lse_C),
              integer(z.vocabulary),
              real(scale)));
      GroupedGemm.Sizes s = new GroupedGemm.Sizes(1, count, z.hidden, z.vocabulary);
      launches.add(GroupedGemm.inputGradient(multiprocessors, s, logits, w_VH, offsets, dx));
      launches.add(
          GroupedGemm.weightGradientFloat32(
              multiprocessors, s, logits, x, offsets, dw_VH, accumulate || t > 0));
    }
    return launches;
  }

  private Launch launch(
      String kernel, Launch.Dim grid, int block, int shared, Launch.Argument... arguments) {
    return new Launch(
        "linear_cross_entropy",
        kernel,
        grid,
        Launch.Dim.of(block),
        shared,
        List.of(arguments),
        z.toString());
  }
}
