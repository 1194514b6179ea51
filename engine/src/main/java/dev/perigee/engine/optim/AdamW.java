package dev.perigee.engine.optim;

import dev.perigee.engine.backend.AdamWRule;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.LinkedHashMap;
import java.util.SequencedMap;

/**
 * AdamW for one parameter of any shape (Loshchilov and Hutter, algorithm 2, as PyTorch has it).
 * Decay applies to the gains of norms too: "Muon is scalable for LLM training", appendix D, finds
 * it crucial for stability.
 *
 * <pre>
 * m ← β₁m + (1 − β₁)G        v ← β₂v + (1 − β₂)G²
 * W ← W − η (m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε) + λW)
 * </pre>
 */
final class AdamW implements UpdateRule {
  private final Parameter parameter;
  private final AdamWRule rule;
  private final Backend backend;
  private final Tensor mean;
  private final Tensor square;

  AdamW(Parameter parameter, RunConfig.Optimizer optimizer, Backend backend) {
    this.parameter = parameter;
    RunConfig.Optimizer.AdamW constants = optimizer.adamW();
    this.rule =
        new AdamWRule(
            (float) constants.beta1(),
            (float) constants.beta2(),
            (float) constants.epsilon(),
            optimizer.weightDecay());
    this.backend = backend;
    this.mean = backend.zeros(parameter.value().shape());
    this.square = backend.zeros(parameter.value().shape());
  }

  @Override
  public Parameter parameter() {
    return parameter;
  }

  @Override
  public void update(Tensor gradient, Rates.Values values, Rates rates) {
    backend.adamW(rule, rates, gradient, mean, square, parameter.value());
  }

  @Override
  public SequencedMap<String, Tensor> state() {
    SequencedMap<String, Tensor> state = new LinkedHashMap<>();
    state.put(parameter.name() + ".exp_avg", mean);
    state.put(parameter.name() + ".exp_avg_sq", square);
    return state;
  }
}
