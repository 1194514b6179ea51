package dev.perigee.plan;

import java.util.ArrayList;
import java.util.List;

/**
 * What of a machine's peaks a program reaches, and speeds that no data sheet names. The shares
 * stand for {@link Gpu}s; measured seconds go before everything that is computed from shares.
 *
 * @param denseShare of the peak in dense products
 * @param expertShare of the peak in a layer of experts
 * @param attentionShare of the peak in the core of attention
 * @param linkShare of the links' peaks
 * @param storageBytesPerSecond what one pod writes of a checkpoint
 * @param rankFlops operations a second of a rank on a CPU, or on a GPU in float32; null when not
 *     known
 * @param networkBytesPerSecond between nodes for each rank; null for the GPU's
 * @param nodeLinkBytesPerSecond within a node for each rank; null for the GPU's
 * @param forwardSeconds of one micro-batch through the whole model; null to compute it
 * @param backwardSeconds of one micro-batch through the whole model; null to compute it
 */
public record Calibration(
    Double denseShare,
    Double expertShare,
    Double attentionShare,
    Double linkShare,
    Double storageBytesPerSecond,
    Double rankFlops,
    Double networkBytesPerSecond,
    Double nodeLinkBytesPerSecond,
    Double forwardSeconds,
    Double backwardSeconds) {

  /**
   * Without measurements of a person's own. On one H100 (docs/benchmarks/gpu.md) a product of 8192³
   * reached 75 % of the data sheet's peak and a whole layer of experts, forward and backward, 50 %.
   * The share of attention's core, of links and of storage are assumptions: measure, and give
   * yours.
   */
  public static final Calibration DEFAULT =
      new Calibration(0.75, 0.5, 0.4, 0.8, 1e9, null, null, null, null, null);

  /** These, with {@link #DEFAULT} for what is null. */
  public Calibration withDefaults() {
    return new Calibration(
        denseShare == null ? DEFAULT.denseShare : denseShare,
        expertShare == null ? DEFAULT.expertShare : expertShare,
        attentionShare == null ? DEFAULT.attentionShare : attentionShare,
        linkShare == null ? DEFAULT.linkShare : linkShare,
        storageBytesPerSecond == null ? DEFAULT.storageBytesPerSecond : storageBytesPerSecond,
        rankFlops,
        networkBytesPerSecond,
        nodeLinkBytesPerSecond,
        forwardSeconds,
        backwardSeconds);
  }

  /** Whether it says how fast a rank computes, whatever the rank is. */
  boolean isOfCompute() {
    return rankFlops != null || forwardSeconds != null;
  }

  /** What is wrong, one line each; empty when nothing is. */
  public List<String> problems() {
    List<String> found = new ArrayList<>();
    share(found, "denseShare", denseShare);
    share(found, "expertShare", expertShare);
    share(found, "attentionShare", attentionShare);
    share(found, "linkShare", linkShare);
    positive(found, "storageBytesPerSecond", storageBytesPerSecond);
    positive(found, "rankFlops", rankFlops);
    positive(found, "networkBytesPerSecond", networkBytesPerSecond);
    positive(found, "nodeLinkBytesPerSecond", nodeLinkBytesPerSecond);
    positive(found, "forwardSeconds", forwardSeconds);
    positive(found, "backwardSeconds", backwardSeconds);
    if ((forwardSeconds == null) != (backwardSeconds == null)) {
      found.add("calibration: give forwardSeconds and backwardSeconds together, or neither");
    }
    return found;
  }

  private static void share(List<String> found, String field, Double value) {
    if (value != null && !(value > 0 && value <= 1)) {
      found.add("calibration." + field + ": " + value + "; expected a share in (0, 1]");
    }
  }

  private static void positive(List<String> found, String field, Double value) {
    if (value != null && !(value > 0 && Double.isFinite(value))) {
      found.add("calibration." + field + ": " + value + "; expected a number above 0");
    }
  }
}
