package dev.perigee.engine.train;

/**
 * What one optimizer step did; the same on every rank but for {@code seconds}.
 *
 * @param step from 1
 * @param loss mean next-token cross-entropy over the batch, before the update, in nats
 * @param gradNorm global norm of the mean loss's gradient, before clipping
 * @param learningRate of this step
 * @param maxLogit [layer][head], the largest attention logit over the batch
 * @param clipFactor [layer][head], QK-Clip's γ; 1 for a head that stayed
 * @param clippedHeads heads with γ below 1
 * @param tokensPerExpert [MoE layer][expert], tokens that each got from the batch
 * @param tokens tokens of the batch
 * @param seconds this rank took
 * @param exchangeSeconds of those, spent summing gradients and bringing weights and figures around,
 *     waiting for other ranks included
 */
@SuppressWarnings("ArrayRecordComponent") // read, never compared
public record StepReport(
    long step,
    double loss,
    double gradNorm,
    double learningRate,
    float[][] maxLogit,
    float[][] clipFactor,
    int clippedHeads,
    long[][] tokensPerExpert,
    long tokens,
    double seconds,
    double exchangeSeconds) {

  /** The largest attention logit over all layers and heads. */
  public float largestLogit() {
    float largest = Float.NEGATIVE_INFINITY;
    for (float[] layer : maxLogit) {
      for (float logit : layer) {
        largest = Math.max(largest, logit);
      }
    }
    return largest;
  }

  /** Tokens of the busiest expert over the mean, largest over the layers; 1 without experts. */
  public double expertImbalance() {
    double worst = 1;
    for (long[] layer : tokensPerExpert) {
      long most = 0;
      long sum = 0;
      for (long tokens : layer) {
        most = Math.max(most, tokens);
        sum += tokens;
      }
      worst = sum == 0 ? worst : Math.max(worst, (double) most * layer.length / sum);
    }
    return worst;
  }
}
