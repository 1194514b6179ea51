package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.model.Model.QkProjections;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * QK-Clip for multi-head latent attention (Kimi K2 report, section 2.1 and algorithm 1). A head
 * whose largest logit S exceeds τ is scaled by γ = τ / S: its query and key without position by γ^α
 * and γ^(1−α), its rotary query by γ. The rotary key is shared by all heads and stays, as do the
 * values. Every logit of the head becomes γ times what it was, because the projections are behind
 * the norms of the latents.
 */
public final class QkClip {
  private final RunConfig.Optimizer.QkClip constants;
  private final Backend backend;
  private final Map<String, Projection> projections = new HashMap<>();

  /** One of the two matrices of a layer that are scaled. */
  private record Projection(QkProjections layer, boolean isQuery) {}

  /**
   * For some layers.
   *
   * @param layers projections of the layers that this rank holds
   */
  public QkClip(RunConfig.Optimizer.QkClip constants, Backend backend, List<QkProjections> layers) {
    this.constants = constants;
    this.backend = backend;
    for (QkProjections layer : layers) {
      projections.put(layer.query().name(), new Projection(layer, true));
      projections.put(layer.keyValue().name(), new Projection(layer, false));
    }
  }

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

  /** How many heads are scaled by factors of [layer][head]. */
  public static int clipped(float[][] factors) {
    int clipped = 0;
    for (float[] layer : factors) {
      for (float factor : layer) {
        clipped += factor < 1 ? 1 : 0;
      }
    }
    return clipped;
  }

  /**
   * Scales the heads in one parameter, if it is one that has heads. Its owner does this with the
   * master weights before the other ranks get them.
   *
   * @param factors [layer][head], γ of each
   */
  public void scale(Parameter parameter, float[][] factors) {
    Projection projection = projections.get(parameter.name());
    if (projection == null) {
      return;
    }
    QkProjections layer = projection.layer;
    int nope = layer.nope();
    int rope = layer.rope();
    double balance = constants.balance();
    Tensor rows = parameter.value();
    for (int head = 0; head < layer.heads(); head++) {
      double factor = factors[layer.layer()][head];
      if (factor >= 1) {
        continue;
      }
      if (projection.isQuery) {
        int at = head * (nope + rope);
        scale(backend, rows.slice(at, nope), Math.pow(factor, balance));
        scale(backend, rows.slice(at + nope, rope), factor);
      } else {
        int at = head * (nope + layer.value());
        scale(backend, rows.slice(at, nope), Math.pow(factor, 1 - balance));
      }
    }
  }

  private static void scale(Backend backend, Tensor rows, double factor) {
    backend.axpby(0, rows, (float) factor, rows);
  }
}
