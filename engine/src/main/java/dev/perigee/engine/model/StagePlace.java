package dev.perigee.engine.model;

import dev.perigee.engine.parallel.Collectives;
import dev.perigee.plan.StageLayout;
import dev.perigee.run.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * Which part of a model a rank holds.
 *
 * @param layout layers of each chunk over all stages
 * @param pipeline the ranks that hold the model's stages for this rank's share of the batch, by
 *     stage
 */
public record StagePlace(StageLayout layout, Collectives pipeline) {
  /** The whole model on one rank. */
  public static StagePlace whole(ModelConfig model) {
    return new StagePlace(StageLayout.whole(model), Collectives.solo());
  }

  /** Pipeline stages. */
  public int stages() {
    return pipeline.size();
  }

  /** This rank's chunks, ascending. */
  public List<Integer> chunks() {
    List<Integer> own = new ArrayList<>();
    for (int chunk = pipeline.index(); chunk < layout.chunks(); chunk += stages()) {
      own.add(chunk);
    }
    return own;
  }

  /** The stage of a chunk. */
  public int stageOf(int chunk) {
    return chunk % stages();
  }

  /** Stream of {@link Collectives#send} that carries the input of a chunk. */
  public static int activationsInto(int chunk) {
    return 2 * chunk;
  }

  /** Stream of {@link Collectives#send} that carries the gradient of a chunk's input. */
  public static int gradientsOutOf(int chunk) {
    return 2 * chunk + 1;
  }
}
