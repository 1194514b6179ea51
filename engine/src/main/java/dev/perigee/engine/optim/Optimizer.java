package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.MuonRule;
import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.backend.Routine;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.Set;
import java.util.function.Consumer;

/**
 * One rank's part of the optimizer: Muon for matrices and AdamW for the rest, or AdamW for all.
 * Dense parameters are shared out over the data group, routed experts over their replicas; a
 * parameter's state lives only with the rank that owns it.
 *
 * <p>A step is {@link #gradientsReady} while backward goes on, {@link #reduceGradients}, {@link
 * #update} with whatever the caller made of the norm, then {@link #publishWeights}. Ranks exchange
 * in buckets beside what they compute: gradients under the rest of backward, weights under the
 * updates of the buckets that follow. The result does not depend on the size of a bucket.
 */
public final class Optimizer {
  /** Bytes of a bucket unless the configuration says something else. */
  public static final long DEFAULT_BUCKET_BYTES = 32L << 20;

  private final RunConfig.Optimizer config;
  private final Backend backend;
  private final Buckets buckets;

  /** By name, in the order of the model. */
  private final SequencedMap<String, UpdateRule> rules = new LinkedHashMap<>();

  /** What is updated together with a parameter. */
  private final Map<String, Alike> batches = new HashMap<>();

  private final MuonRule muon;
  private final Rates rates;

  /** All updates, where nothing is exchanged between them. */
  private final Routine updates;

  /** Those of the step that is under way. */
  private Rates.Values values;

  /** An optimizer with fresh state and buckets of {@link #DEFAULT_BUCKET_BYTES}. */
  public Optimizer(
      RunConfig.Optimizer config,
      List<Parameter> parameters,
      Backend backend,
      Fabric.Groups groups) {
    this(config, parameters, backend, groups, DEFAULT_BUCKET_BYTES);
  }

  /**
   * An optimizer with fresh state.
   *
   * @param parameters those of this rank's model, in the same order on every rank
   * @param bucketBytes gradients or weights that are exchanged in one go; what a rank needs in
   *     memory beside them
   */
  public Optimizer(
      RunConfig.Optimizer config,
      List<Parameter> parameters,
      Backend backend,
      Fabric.Groups groups,
      long bucketBytes) {
    this.config = config;
    this.backend = backend;
    this.rates = backend.rates();
    this.muon =
        new MuonRule(
            (float) config.muon().momentum(),
            config.muon().nesterov(),
            config.muon().newtonSchulzSteps(),
            config.muon().newtonSchulzCoefficients(),
            config.muon().updateRms(),
            config.weightDecay());
    // Muon by products takes numbers of the host's, but its norms are one too: it is not recorded.
    this.updates =
        backend.routine(() -> update(rules.values().stream().map(UpdateRule::parameter).toList()));
    this.buckets = new Buckets(parameters, groups, config, bucketBytes);
    NewtonSchulz newtonSchulz =
        new NewtonSchulz(
            backend, config.muon().newtonSchulzSteps(), config.muon().newtonSchulzCoefficients());
    Muon.Scratch scratch = new Muon.Scratch(backend);
    List<Parameter> owned = parameters.stream().filter(buckets::owns).toList();
    for (Alike alike : Alike.of(owned, config, buckets, backend)) {
      for (int i = 0; i < alike.parameters().size(); i++) {
        Parameter p = alike.parameters().get(i);
        batches.put(p.name(), alike);
        rules.put(
            p.name(),
            alike.usesMuon()
                ? new Muon(p, config, backend, newtonSchulz, scratch, alike.momentum(i))
                : new AdamW(p, config, backend));
      }
    }
  }

  /**
   * Says that backward adds nothing more to the gradients of these parameters in this step, so that
   * their exchange can begin. Optional, and at most once a step for each; the ranks that hold a
   * parameter need not say it at the same time.
   *
   * @throws IllegalStateException when it was said before in this step
   */
  public void gradientsReady(List<Parameter> parameters) {
    buckets.ready(parameters);
  }

  /**
   * Sums each parameter's gradient over the ranks that hold it, for the one that owns it: what
   * {@link #gradientsReady} has not begun, and waits for what it has.
   *
   * @return Σ g² over the parameters that this rank owns; the sum over the data group is that of
   *     the whole model
   */
  public double reduceGradients() {
    buckets.finishGradients();
    return backend.sumOfSquares(
        rules.values().stream().map(rule -> rule.parameter().gradient()).toList());
  }

  /** The first parameter that this rank owns whose summed gradient is not finite. */
  public Optional<String> firstNotFinite() {
    return rules.values().stream()
        .map(UpdateRule::parameter)
        .filter(p -> !Double.isFinite(backend.sumOfSquares(p.gradient())))
        .map(Parameter::name)
        .findFirst();
  }

  /**
   * Updates the parameters that this rank owns, and begins to bring their new weights to the other
   * ranks that hold them.
   *
   * @param step from 1, over the whole job
   * @param gradientScale factor that makes of the summed gradients the clipped gradients of the
   *     mean loss
   * @param then is applied to each parameter after its update and before anybody else gets it
   */
  public void update(
      long step, double learningRate, double gradientScale, Consumer<Parameter> then) {
    values = values(config, step, learningRate, gradientScale);
    rates.set(values);
    if (buckets.areShared()) {
      buckets.update(
          owned -> {
            update(owned);
            owned.forEach(then);
          });
    } else {
      updates.run();
      rules.values().forEach(rule -> then.accept(rule.parameter()));
    }
  }

  static Rates.Values values(
      RunConfig.Optimizer config, long step, double learningRate, double gradientScale) {
    return new Rates.Values(
        learningRate,
        gradientScale,
        1 - Math.pow(config.adamW().beta1(), (double) step),
        1 - Math.pow(config.adamW().beta2(), (double) step));
  }

  private void update(List<Parameter> owned) {
    Set<Alike> together = new LinkedHashSet<>();
    owned.forEach(p -> together.add(batches.get(p.name())));
    for (Alike alike : together) {
      if (!alike.usesMuon()
          || !backend.muon(
              muon, rates, alike.gradient_BNM(), alike.momentum_BNM(), alike.weight_BNM())) {
        for (Parameter p : alike.parameters().reversed()) {
          rules.get(p.name()).update(p.gradient(), values, rates);
        }
      }
    }
  }

  /** Returns when this rank has the new weights of every parameter from its owner. */
  public void publishWeights() {
    buckets.finishWeights();
  }

  /** Bytes that exchanging with other ranks takes beside gradients and weights. */
  public long exchangeBytes() {
    return (long) Float.BYTES * buckets.exchangeSize();
  }

  /** Operations of the matrix products that one update of a parameter takes: none for AdamW. */
  public static double productFlops(Parameter parameter, RunConfig.Optimizer config) {
    return Ownership.usesMuon(parameter, config)
        ? dev.perigee.plan.Ownership.newtonSchulzFlops(
            parameter.value().dim(0), parameter.value().dim(1), config.muon().newtonSchulzSteps())
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
    rules.values().forEach(rule -> state.putAll(rule.state()));
    return state;
  }
}
