package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Rates;
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
   * @param values of this step, on the host
   * @param rates the same where the backend's updates read them
   */
  void update(Tensor gradient, Rates.Values values, Rates rates);

  /** State by name, the parameter's name first; the tensors are the live ones. */
  SequencedMap<String, Tensor> state();
}
