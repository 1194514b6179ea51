package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.optim.SharedParameters.Owned;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.SequencedMap;

/**
 * One rank's part of the optimizer: Muon for matrices and AdamW for the rest, or AdamW for all.
 * Dense parameters are shared out over the data group, routed experts over their replicas; a
 * parameter's state lives only with the rank that owns it.
 *
 * <p>A step is {@link #reduceGradients}, then {@link #update} with whatever the caller made of the
 * norm, then {@link #publishWeights}. The first and the last are collective.
 */
public final class Optimizer {
  private final Backend backend;
  private final List<SharedParameters> shared;
  private final List<UpdateRule> rules = new ArrayList<>();
  private final List<Tensor> gradients = new ArrayList<>();

  /**
   * An optimizer with fresh state.
   *
   * @param parameters those of this rank's model, in the same order on every rank
   */
  public Optimizer(
      RunConfig.Optimizer config,
      List<Parameter> parameters,
      Backend backend,
      Fabric.Groups groups) {
    this.backend = backend;
    this.shared =
        List.of(
            new SharedParameters(
                sharing(parameters, Parameter.Sharing.DENSE), groups.data(), config),
            new SharedParameters(
                sharing(parameters, Parameter.Sharing.EXPERT), groups.replica(), config));
    NewtonSchulz newtonSchulz =
        new NewtonSchulz(
            backend, config.muon().newtonSchulzSteps(), config.muon().newtonSchulzCoefficients());
    Muon.Scratch scratch = new Muon.Scratch(backend);
    for (SharedParameters some : shared) {
      for (Owned owned : some.owned()) {
        gradients.add(owned.gradient());
        rules.add(
            Ownership.usesMuon(owned.parameter(), config)
                ? new Muon(owned.parameter(), config, backend, newtonSchulz, scratch)
                : new AdamW(owned.parameter(), config, backend));
      }
    }
  }

  private static List<Parameter> sharing(List<Parameter> all, Parameter.Sharing sharing) {
    return all.stream().filter(p -> p.sharing() == sharing).toList();
  }

  /**
   * Sums each parameter's gradient over the ranks that hold it, for the one that owns it.
   *
   * @return Σ g² over the parameters that this rank owns; the sum over the data group is that of
   *     the whole model
   */
  public double reduceGradients() {
    shared.forEach(SharedParameters::reduceGradients);
    double sum = 0;
    for (Tensor gradient : gradients) {
      sum += backend.sumOfSquares(gradient);
    }
    return sum;
  }

  /** The first parameter that this rank owns whose summed gradient is not finite. */
  public Optional<String> firstNotFinite() {
    for (int i = 0; i < gradients.size(); i++) {
      if (!Double.isFinite(backend.sumOfSquares(gradients.get(i)))) {
        return Optional.of(rules.get(i).parameter().name());
      }
    }
    return Optional.empty();
  }

  /**
   * Updates the parameters that this rank owns.
   *
   * @param step from 1, over the whole job
   * @param gradientScale factor that makes of the summed gradients the clipped gradients of the
   *     mean loss
   */
  public void update(long step, double learningRate, double gradientScale) {
    for (int i = 0; i < rules.size(); i++) {
      rules.get(i).update(gradients.get(i), gradientScale, learningRate, step);
    }
  }

  /** Brings the new weights of each parameter from its owner to the other ranks that hold it. */
  public void publishWeights() {
    shared.forEach(SharedParameters::publishWeights);
  }

  /** Operations of the matrix products that one update of a parameter takes: none for AdamW. */
  public static double productFlops(Parameter parameter, RunConfig.Optimizer config) {
    return Ownership.usesMuon(parameter, config)
        ? NewtonSchulz.flops(
            parameter.value().dim(0),
            parameter.value().dim(1),
            config.muon().newtonSchulzSteps())
        : 0;
  }

  /**
   * What this rank has to keep between steps, by name: {@code <parameter>.momentum} for Muon,
   * {@code <parameter>.exp_avg} and {@code <parameter>.exp_avg_sq} for AdamW. The tensors are the
   * live ones: read them to save, write them to restore. Over the ranks of a job each name occurs
   * exactly once, and another mesh shares the same names out differently.
   */
  public SequencedMap<String, Tensor> state() {
    SequencedMap<String, Tensor> state = new LinkedHashMap<>();
    rules.forEach(rule -> state.putAll(rule.state()));
    return state;
  }
}
