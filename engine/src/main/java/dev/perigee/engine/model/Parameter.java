package dev.perigee.engine.model;

import dev.perigee.engine.tensor.Tensor;

/**
 * A trainable tensor under its Hugging Face name, with its gradient.
 *
 * @param name for example {@code model.layers.0.self_attn.q_a_proj.weight}
 * @param value float32 master weights
 * @param gradient of the same shape; backward passes add to it
 * @param rule which optimizer rule it falls under
 * @param sharing which ranks hold the same parameter
 */
public record Parameter(String name, Tensor value, Tensor gradient, Rule rule, Sharing sharing) {

  /** Which rule of MuonClip updates a parameter. */
  public enum Rule {
    /** A matrix inside the model: Muon. */
    MATRIX,
    /** Norm gains, the embedding and the head: AdamW. */
    ELEMENTWISE
  }

  /** Which ranks hold the same parameter, and so sum their gradients. */
  public enum Sharing {
    /** Every rank of the data group. */
    DENSE,
    /** Only the ranks of the expert-replica group: a routed expert. */
    EXPERT
  }
}
