package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * What generation keeps of the tokens so far: for each layer, sequence and position the normalised
 * latent and the rotated shared key.
 */
public final class LatentCache {
  private final List<Tensor> layers_BPC = new ArrayList<>();
  private final int batch;
  private final int positions;
  private int filled;

  LatentCache(ModelConfig config, int layers, Backend backend, int batch, int positions) {
    this.batch = batch;
    this.positions = positions;
    for (int layer = 0; layer < layers; layer++) {
      layers_BPC.add(backend.zeros(batch, positions, config.kvLoraRank() + config.qkRopeHeadDim()));
    }
  }

  /** Sequences that it is for. */
  public int batch() {
    return batch;
  }

  /** Positions that hold a token. */
  public int filled() {
    return filled;
  }

  /** Positions that there is room for. */
  public int positions() {
    return positions;
  }

  /** Of one of the rank's own layers, by its place among them. */
  Tensor layer_BPC(int layer) {
    return layers_BPC.get(layer);
  }

  void advance() {
    filled++;
  }
}
