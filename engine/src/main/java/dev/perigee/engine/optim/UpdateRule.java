package dev.perigee.engine.optim;

import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.tensor.Tensor;
import java.util.SequencedMap;

/** How one parameter is updated, with the state that this needs from step to step. */
sealed interface UpdateRule permits Muon, AdamW {
  /** The parameter. */
  Parameter parameter();

  /**
   * Takes one step.
   *
   * @param gradient summed gradient, of the parameter's shape
   * @param gradientScale factor that makes of it the (clipped) gradient of the mean loss
   * @param step from 1
   */
  void update(Tensor gradient, double gradientScale, double learningRate, long step);

  /** State by name, the parameter's name first; the tensors are the live ones. */
  SequencedMap<String, Tensor> state();
}
