package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.Launch.address;
import static dev.perigee.engine.cuda.Launch.integer;
import static dev.perigee.engine.cuda.Launch.map;
import static dev.perigee.engine.cuda.Launch.real;

import java.util.List;

/**
 * Attention of one new token a sequence over a paged latent cache, with the projections absorbed
 * (DeepSeek-V2, section 2.1.2): a key is the latent beside the rotated part, a value the latent
 * alone. Lengths and pages are read on the device, so a captured graph serves a growing cache.
 * Kernels: {@code src/main/cuda/mla_decode.cu}.
 *
 * <p>Legend: B sequences, H heads, C = {@value #KEY} numbers of a key, V = {@value #VALUE} of a
 * value, P pages of {@value #PAGE} tokens, W pages a sequence at most.
 *
 * @param sequences B, at most 1024
 * @param heads H
 * @param pages P
 * @param width W
 * @param scale of the logits
 */
public record MlaDecode(int sequences, int heads, int pages, int width, float scale) {
  /** Tokens of a page. */
  public static final int PAGE = 64;

  /** Numbers of a token in the cache. */
  public static final int KEY = 576;

  /** The first numbers of a token, which are its value. */
  public static final int VALUE = 512;

  private static final int HEADS_OF_A_BLOCK = 64;

  /** Sequences at most. */
  static final int MOST_SEQUENCES = 1024;

  /** Shared memory of a block: queries, two pages, the list of pages, barriers, room to align. */
  static final int SHARED_BYTES = 3 * PAGE * KEY * 2 + 4 * (MOST_SEQUENCES + 1) + 52 + 1024;

  /** Checks the sizes. */
  public MlaDecode {
    if (sequences < 1 || sequences > MOST_SEQUENCES || heads < 1 || pages < 1 || width < 1) {
      throw new IllegalArgumentException(
          "decoding takes 1 to "
              + MOST_SEQUENCES
              + " sequences and at least one head and page, not "
              + sequences
              + " sequences, "
              + heads
              + " heads, "
              + pages
              + " pages, "
              + width
              + " of a sequence");
    }
  }

  private int groups() {
    return (heads + HEADS_OF_A_BLOCK - 1) / HEADS_OF_A_BLOCK;
  }

  private int blocks(int multiprocessors) {
    return Math.max(1, multiprocessors / groups());
  }

  /** Bytes of scratch memory: the parts of sequences that blocks share, and the list of pages. */
  public long scratchBytes(int multiprocessors) {
    return parts(multiprocessors) * (VALUE + 1) * 4 + 4L * (sequences + 1);
  }

  private long parts(int multiprocessors) {
    return (long) (blocks(multiprocessors) + sequences) * heads;
  }

  /**
   * out[b, h] = Σ_t softmax_t(scale · q[b, h] · cache[t]) · cache[t, :V] over the tokens of b.
   *
   * @param q_BHC bf16
   * @param cache_PTC bf16: pages of {@value #PAGE} tokens
   * @param table_BW the pages of each sequence in order, int32
   * @param lengths_B tokens of each sequence, int32; zero gives zeros
   * @param out_BHV receives bf16
   * @param scratch at least {@link #scratchBytes}
   */
  public List<Launch> attend(
      int multiprocessors,
      DeviceBuffer q_BHC,
      DeviceBuffer cache_PTC,
      DeviceBuffer table_BW,
      DeviceBuffer lengths_B,
      DeviceBuffer out_BHV,
      DeviceBuffer scratch) {
    long parts = parts(multiprocessors);
    DeviceBuffer part = scratch.slice(0, parts * VALUE * 4);
    DeviceBuffer partLse = scratch.slice(part.bytes(), parts * 4);
    DeviceBuffer first_B1 = scratch.slice(part.bytes() + partLse.bytes(), 4L * (sequences + 1));
    int blocks = blocks(multiprocessors);
    return List.of(
        new Launch(
            "mla_decode",
            "mla_decode",
            new Launch.Dim(blocks, groups(), 1),
            Launch.Dim.of(384),
            SHARED_BYTES,
            List.of(
                map(TensorMap.of(q_BHC, sequences, heads, KEY, HEADS_OF_A_BLOCK)),
                map(TensorMap.of(cache_PTC, pages, PAGE, KEY, PAGE)),
                address(table_BW),
                address(lengths_B),
                address(out_BHV),
                address(part),
                address(partLse),
                address(first_B1),
                integer(sequences),
                integer(heads),
                integer(width),
                real(scale)),
            toString()),
        new Launch(
            "mla_decode",
            "mla_decode_combine",
            new Launch.Dim((heads + 3) / 4, sequences, 1),
            Launch.Dim.of(128),
            0,
            List.of(
                address(part),
                address(partLse),
                address(first_B1),
                address(out_BHV),
                integer(sequences),
                integer(heads),
                integer(blocks)),
            toString()));
  }
}
