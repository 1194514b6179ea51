package dev.perigee.engine.checkpoint;

import dev.perigee.engine.tensor.Tensor;
import java.util.Locale;
import java.util.SequencedMap;

/**
 * What one rank writes into a checkpoint. Over all ranks every weight and every piece of optimizer
 * state occurs once: the first rank of each stage has the dense weights, each rank of the stage's
 * first expert group its experts, and each rank the optimizer state that it owns.
 *
 * @param weights by Hugging Face name; empty for a rank whose weights another one writes
 * @param shard place of this rank's weights among the shards, from 0
 * @param shards files that the weights are spread over
 * @param optimizer optimizer state by name
 */
public record Contribution(
    SequencedMap<String, Tensor> weights,
    int shard,
    int shards,
    SequencedMap<String, Tensor> optimizer) {

  /** The file for the weights, named as Hugging Face does. */
  String weightsFile() {
    return shards == 1
        ? Safetensors.SINGLE
        : String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", shard + 1, shards);
  }
}
