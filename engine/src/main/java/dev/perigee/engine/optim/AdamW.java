package dev.perigee.engine.optim;

import dev.perigee.engine.backend.AdamWStep;
import dev.perigee.engine.backend.Backend;
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
  private final RunConfig.Optimizer.AdamW constants;
  private final double weightDecay;
  private final Backend backend;
  private final Tensor mean;
  private final Tensor square;

  AdamW(Parameter parameter, RunConfig.Optimizer optimizer, Backend backend) {
    this.parameter = parameter;
    this.constants = optimizer.adamW();
    this.weightDecay = optimizer.weightDecay();
    this.backend = backend;
    this.mean = backend.zeros(parameter.value().shape());
    this.square = backend.zeros(parameter.value().shape());
  }

  @Override
  public Parameter parameter() {
    return parameter;
  }

  @Override
  public void update(Tensor gradient, double gradientScale, double learningRate, long step) {
    double meanCorrection = 1 - Math.pow(constants.beta1(), (double) step);
    double squareCorrection = 1 - Math.pow(constants.beta2(), (double) step);
    AdamWStep constantsOfStep =
        new AdamWStep(
            gradient.size(),
            (float) gradientScale,
            (float) constants.beta1(),
            (float) constants.beta2(),
            (float) (learningRate / meanCorrection),
            (float) (1 / Math.sqrt(squareCorrection)),
            (float) constants.epsilon(),
            (float) (1 - learningRate * weightDecay));
    backend.adamW(constantsOfStep, gradient, mean, square, parameter.value());
  }

  @Override
  public SequencedMap<String, Tensor> state() {
    SequencedMap<String, Tensor> state = new LinkedHashMap<>();
    state.put(parameter.name() + ".exp_avg", mean);
    state.put(parameter.name() + ".exp_avg_sq", square);
    return state;
  }
}
