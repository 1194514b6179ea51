package dev.perigee.engine.backend;

/** What differs between steps of an optimizer, where a backend's updates read it. */
public interface Rates {
  /**
   * Values of one step.
   *
   * @param learningRate η
   * @param gradientScale factor on gradients as they are given
   * @param meanCorrection 1 − β₁ᵗ of AdamW
   * @param squareCorrection 1 − β₂ᵗ of AdamW
   */
  record Values(
      double learningRate, double gradientScale, double meanCorrection, double squareCorrection) {

    /** AdamW's factor on the mean: the learning rate over the bias correction. */
    public float meanRate() {
      return (float) (learningRate / meanCorrection);
    }

    /** AdamW's factor on the root of the mean square that corrects its bias. */
    public float rootCorrection() {
      return (float) (1 / Math.sqrt(squareCorrection));
    }

    /** Factor on the weights: decoupled decay. */
    public float keep(double weightDecay) {
      return (float) (1 - learningRate * weightDecay);
    }
  }

  /** Sets them for the updates that are asked for from now on. */
  void set(Values values);

  /** Rates on the host. */
  final class OnHost implements Rates {
    private Values values = new Values(0, 0, 1, 1);

    @Override
    public void set(Values values) {
      this.values = values;
    }

    /** As they were set last. */
    public Values get() {
      return values;
    }
  }
}
