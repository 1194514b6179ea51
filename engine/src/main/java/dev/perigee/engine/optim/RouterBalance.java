package dev.perigee.engine.optim;

import dev.perigee.engine.tensor.Tensor;

/**
 * Balance of experts without an auxiliary loss (DeepSeek-V3 report, section 2.1.2): after each step
 * the bias that takes part in the choice of experts, and in nothing else, rises for experts with
 * less than the mean load and falls for those with more.
 */
public final class RouterBalance {
  private RouterBalance() {}

  /**
   * {@code b += u · sign(mean load − load)}.
   *
   * @param bias_E the router's bias
   * @param load_E tokens that each expert got from the whole batch
   * @param rate u
   */
  public static void update(Tensor bias_E, long[] load_E, double rate) {
    long total = 0;
    for (long load : load_E) {
      total += load;
    }
    Tensor host_E = bias_E.onHost();
    for (int e = 0; e < load_E.length; e++) {
      // In whole numbers: sign(total − E · load) is that of mean − load without rounding.
      int sign = Long.signum(total - load_E.length * load_E[e]);
      host_E.floats()[host_E.offset() + e] += (float) (rate * sign);
    }
    bias_E.assign(host_E);
  }
}
