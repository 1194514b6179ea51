package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.model.Model.QkProjections;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.List;

/**
 * QK-Clip for multi-head latent attention (Kimi K2 report, section 2.1 and algorithm 1). A head
 * whose largest logit S exceeds τ is scaled by γ = τ / S: its query and key without position by γ^α
 * and γ^(1−α), its rotary query by γ. The rotary key is shared by all heads and stays, as do the
 * values. Every logit of the head becomes γ times what it was, because the projections are behind
 * the norms of the latents.
 */
public final class QkClip {
  private QkClip() {}

  /**
   * γ of each head; 1 for one that stays.
   *
   * @param maxLogit [layer][head], the largest over the whole batch
   */
  public static float[][] factors(RunConfig.Optimizer.QkClip constants, float[][] maxLogit) {
    float[][] factors = new float[maxLogit.length][];
    for (int layer = 0; layer < maxLogit.length; layer++) {
      factors[layer] = new float[maxLogit[layer].length];
      for (int head = 0; head < factors[layer].length; head++) {
        float largest = maxLogit[layer][head];
        factors[layer][head] =
            largest > constants.threshold() ? (float) (constants.threshold() / largest) : 1;
      }
    }
    return factors;
  }

  /**
   * Scales the heads.
   *
   * @param factors [layer][head], γ of each
   * @return how many heads were scaled
   */
  public static int apply(
      RunConfig.Optimizer.QkClip constants,
      Backend backend,
      List<QkProjections> layers,
      float[][] factors) {
    int clipped = 0;
    for (QkProjections layer : layers) {
      for (int head = 0; head < layer.heads(); head++) {
        float factor = factors[layer.layer()][head];
        if (factor < 1) {
          scaleHead(backend, layer, head, factor, constants.balance());
          clipped++;
        }
      }
    }
    return clipped;
  }

  private static void scaleHead(
      Backend backend, QkProjections layer, int head, double factor, double balance) {
    int nope = layer.nope();
    int rope = layer.rope();
    Tensor query = layer.query().value();
    Tensor keyValue = layer.keyValue().value();
    int queryAt = head * (nope + rope);
    scale(backend, query.slice(queryAt, nope), Math.pow(factor, balance));
    scale(backend, query.slice(queryAt + nope, rope), factor);
    Tensor key = keyValue.slice(head * (nope + layer.value()), nope);
    scale(backend, key, Math.pow(factor, 1 - balance));
  }

  private static void scale(Backend backend, Tensor rows, double factor) {
    backend.axpby(0, rows, (float) factor, rows);
  }
}
