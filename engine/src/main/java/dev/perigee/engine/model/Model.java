package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.io.IOException;
import java.util.List;
import java.util.Map;

/** SKELETON of the API; the implementation follows. */
@SuppressWarnings("DoNotCallSuggester") // goes with the skeleton
public final class Model {
  /** What one MLA layer offers to QK-Clip. */
  public record QkProjections(
      int layer, int heads, int nope, int rope, int value, Parameter query, Parameter keyValue) {}

  /**
   * Per-layer statistics since the last reset.
   *
   * @param maxLogit [layer][head], −∞ before the first forward pass
   * @param tokensPerExpert [MoE layer][global expert], counted over this rank's tokens
   */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  public record Statistics(float[][] maxLogit, long[][] tokensPerExpert) {}

  private Model() {}

  /** A model of zeros, ones in norms; this rank holds its share of the experts. */
  public static Model create(ModelConfig config, Backend backend, Collectives expertGroup) {
    throw new UnsupportedOperationException();
  }

  public ModelConfig config() {
    throw new UnsupportedOperationException();
  }

  /** Fills in random weights that depend on the seed and the names only. */
  public void initialize(long seed) {
    throw new UnsupportedOperationException();
  }

  /** This rank's trainable parameters. */
  public List<Parameter> parameters() {
    throw new UnsupportedOperationException();
  }

  /** Tensors that are saved but not trained: the routers' biases by name, every rank has all. */
  public Map<String, Tensor> buffers() {
    throw new UnsupportedOperationException();
  }

  /** All gradients of that sharing, in few large tensors. */
  public List<Tensor> gradients(Parameter.Sharing sharing) {
    throw new UnsupportedOperationException();
  }

  /** Takes this rank's weights from a checkpoint. */
  public void load(Safetensors weights) throws IOException {
    throw new UnsupportedOperationException();
  }

  /** Zeroes every gradient. */
  public void zeroGradients() {
    throw new UnsupportedOperationException();
  }

  /**
   * Adds gradScale · gradient of the summed loss; returns the loss summed over targets ≥ 0.
   *
   * @param ids batch · length token ids
   * @param targets of the same length; negative ones do not count
   */
  public double forwardBackward(int[] ids, int[] targets, int batch, int length, double gradScale) {
    throw new UnsupportedOperationException();
  }

  /** The loss summed over targets ≥ 0. */
  public double forwardLoss(int[] ids, int[] targets, int batch, int length) {
    throw new UnsupportedOperationException();
  }

  /** Logits [batch · length, vocabulary], a new tensor. */
  public Tensor logits(int[] ids, int batch, int length) {
    throw new UnsupportedOperationException();
  }

  public Statistics statistics() {
    throw new UnsupportedOperationException();
  }

  public void resetStatistics() {
    throw new UnsupportedOperationException();
  }

  public List<QkProjections> qkProjections() {
    throw new UnsupportedOperationException();
  }
}
