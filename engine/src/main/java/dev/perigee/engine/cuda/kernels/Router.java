package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.map;
import static dev.perigee.engine.cuda.driver.Launch.real;
import static java.lang.Math.ceilDiv;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.TensorMap;
import java.util.List;

/**
 * Chooses experts for tokens: sigmoid scores, a bias for the choice alone, normalised weights
 * (DeepSeek-V3, section 2.1.2). Kernels: {@code src/main/cuda/router.cu} and {@code
 * narrow_router.cu}.
 *
 * <p>Legend: T tokens, H hidden, E experts, K chosen experts of a token.
 *
 * @param tokens T
 * @param hidden H, divisible by 8
 * @param experts E
 * @param chosen K
 * @param scale of the normalised weights
 */
public record Router(int tokens, int hidden, int experts, int chosen, float scale) {
  private static final int TOKENS_OF_A_BLOCK = 32;
  private static final int MOST_EXPERTS = 1024;
  private static final int MOST_EXPERTS_NARROW = 64;
  private static final int MOST_CHOSEN_NARROW = 16;
  private static final int MOST_TOKENS_OF_A_PASS = 128;

  /**
   * Five stages of 64 columns of the tokens and experts, scores of two passes, biases, what was
   * chosen, barriers, and room to align.
   */
  private static final int NARROW_BYTES =
      5 * (MOST_TOKENS_OF_A_PASS + MOST_EXPERTS_NARROW) * 64 * 2
          + 2 * 4 * MOST_TOKENS_OF_A_PASS * MOST_EXPERTS_NARROW
          + 4 * MOST_EXPERTS_NARROW
          + 2 * MOST_TOKENS_OF_A_PASS * (5 * MOST_CHOSEN_NARROW + 4)
          + (2 * 5 + 2) * 8
          + 1024;

  /**
   * Four stages of 32 rows of x and 64 of w, of 64 numbers and room against bank conflicts each.
   */
  private static final int STAGE_BYTES = 4 * (32 + 64) * 36 * 4;

  /** Checks the sizes. */
  public Router {
    if (hidden % 8 != 0) {
      throw new IllegalArgumentException("the hidden width must be divisible by 8, not " + hidden);
    }
    if (chosen < 1 || chosen > Math.min(experts, 32)) {
      throw new IllegalArgumentException(
          "a token is routed to 1 to 32 of its experts, not " + chosen + " of " + experts);
    }
    if (experts > MOST_EXPERTS) {
      throw new IllegalArgumentException("at most " + MOST_EXPERTS + " experts, not " + experts);
    }
  }

  /**
   * Scores, chooses and weighs.
   *
   * @param x_TH bf16
   * @param w_EH bf16
   * @param bias_E float32
   * @param expert_TK receives the chosen, int32
   * @param score_TK receives their sigmoids, float32, which backward wants
   * @param weight_TK receives their weights, float32
   */
  public Launch forward(
      DeviceBuffer x_TH,
      DeviceBuffer w_EH,
      DeviceBuffer bias_E,
      DeviceBuffer expert_TK,
      DeviceBuffer score_TK,
      DeviceBuffer weight_TK) {
    return new Launch(
        "router",
        "router_forward",
        Launch.Dim.of((tokens + TOKENS_OF_A_BLOCK - 1) / TOKENS_OF_A_BLOCK),
        Launch.Dim.of(256),
        STAGE_BYTES + TOKENS_OF_A_BLOCK * 4 * experts,
        List.of(
            address(x_TH),
            address(w_EH),
            address(bias_E),
            address(expert_TK),
            address(score_TK),
            address(weight_TK),
            integer(tokens),
            integer(hidden),
            integer(experts),
            integer(chosen),
            real(scale)),
        toString());
  }

  /**
   * The same on Hopper, where up to 64 experts, of which a token takes up to 16, have a kernel of
   * their own ({@code narrow_router.cu}). One block stays on each of the multiprocessors.
   */
  public Launch forward(
      int multiprocessors,
      DeviceBuffer x_TH,
      DeviceBuffer w_EH,
      DeviceBuffer bias_E,
      DeviceBuffer expert_TK,
      DeviceBuffer score_TK,
      DeviceBuffer weight_TK) {
    if (experts > MOST_EXPERTS_NARROW || chosen > MOST_CHOSEN_NARROW) {
      return forward(x_TH, w_EH, bias_E, expert_TK, score_TK, weight_TK);
    }
    int passes = ceilDiv(tokens, multiprocessors * MOST_TOKENS_OF_A_PASS);
    int tokensOfAPass = 8 * ceilDiv(tokens, 8 * multiprocessors * passes);
    return new Launch(
        "narrow_router",
        "narrow_router_forward",
        Launch.Dim.of(multiprocessors),
        Launch.Dim.of(288),
        NARROW_BYTES,
        List.of(
            map(TensorMap.of(x_TH, 1, tokens, hidden, tokensOfAPass)),
            map(TensorMap.of(w_EH, 1, experts, hidden, MOST_EXPERTS_NARROW)),
            address(bias_E),
            address(expert_TK),
            address(score_TK),
            address(weight_TK),
            integer(tokens),
            integer(tokensOfAPass),
            integer(hidden),
            integer(experts),
            integer(chosen),
            real(scale)),
        toString());
  }

  /** The gradient of the logits, bf16, from that of the weights, float32. */
  public Launch backward(
      DeviceBuffer expert_TK,
      DeviceBuffer score_TK,
      DeviceBuffer dweight_TK,
      DeviceBuffer dlogit_TE) {
    return backward(expert_TK, score_TK, dweight_TK, /* parts */ 1, dlogit_TE);
  }

  /** The same where the gradient of the weights is the sum of P parts. */
  public Launch backward(
      DeviceBuffer expert_TK,
      DeviceBuffer score_TK,
      DeviceBuffer dweight_PTK,
      int parts,
      DeviceBuffer dlogit_TE) {
    return new Launch(
        "router",
        "router_backward",
        Launch.Dim.of((tokens + 7) / 8),
        Launch.Dim.of(256),
        0,
        List.of(
            address(expert_TK),
            address(score_TK),
            address(dweight_PTK),
            address(dlogit_TE),
            integer(parts),
            integer(tokens),
            integer(experts),
            integer(chosen),
            real(scale)),
        toString());
  }

  /**
   * Slices of the tokens that {@link #weightGradient} sums by itself, so that every block has one.
   */
  public static final int SLICES = 16;

  /** The first token of each slice, and the end. */
  public int[] slices() {
    int[] first = new int[SLICES + 1];
    for (int i = 1; i <= SLICES; i++) {
      first[i] = Math.toIntExact((long) tokens * i / SLICES);
    }
    return first;
  }

  /** Bytes of the slices' sums. */
  public long partsBytes() {
    return 4L * SLICES * experts * hidden;
  }

  /**
   * dw = dlogitᵀ · x, bf16. As one product it would be a few tiles with a sum over all tokens each,
   * and most multiprocessors would have none; so the tokens' slices are products of their own.
   *
   * @param slices_P1 {@link #slices}, int32
   * @param parts_PEH scratch of {@link #partsBytes}
   */
  public List<Launch> weightGradient(
      int multiprocessors,
      DeviceBuffer dlogit_TE,
      DeviceBuffer x_TH,
      DeviceBuffer slices_P1,
      DeviceBuffer parts_PEH,
      DeviceBuffer dw_EH) {
    int quads = experts * hidden / 4;
    return List.of(
        GroupedGemm.weightGradientFloat32(
            multiprocessors,
            new GroupedGemm.Sizes(SLICES, tokens, hidden, experts),
            dlogit_TE,
            x_TH,
            slices_P1,
            parts_PEH,
            /* accumulate */ false),
        new Launch(
            "router",
            "router_sum_parts",
            Launch.Dim.of(ceilDiv(quads, 256)),
            Launch.Dim.of(256),
            0,
            List.of(address(parts_PEH), address(dw_EH), integer(quads), integer(SLICES)),
            toString()));
  }
}
