package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.LinkedHashMap;
import java.util.SequencedMap;

/**
 * Muon for one matrix, with the update scaled to AdamW's size and decoupled weight decay (Kimi K2
 * report, algorithm 1; "Muon is scalable for LLM training", section 2.2):
 *
 * <pre>
 * M ← μM + G
 * O ← NewtonSchulz(μM + G) · rms · √max(rows, columns)     (without Nesterov: of M)
 * W ← W − η (O + λW)
 * </pre>
 *
 * <p>The whole projection is one matrix, not each head of it. PyTorch keeps {@code (1 − μ)M} in its
 * buffer; the factor vanishes in the normalisation.
 */
final class Muon implements UpdateRule {
  private final Parameter parameter;
  private final RunConfig.Optimizer.Muon constants;
  private final double weightDecay;
  private final Backend backend;
  private final NewtonSchulz newtonSchulz;
  private final Tensor momentum;

  /** Working memory shared by the rules of one rank. */
  private final Scratch scratch;

  Muon(
      Parameter parameter,
      RunConfig.Optimizer optimizer,
      Backend backend,
      NewtonSchulz newtonSchulz,
      Scratch scratch) {
    this(
        parameter,
        optimizer,
        backend,
        newtonSchulz,
        scratch,
        backend.zeros(parameter.value().shape()));
  }

  /** The same with the momentum's memory, which is zero. */
  Muon(
      Parameter parameter,
      RunConfig.Optimizer optimizer,
      Backend backend,
      NewtonSchulz newtonSchulz,
      Scratch scratch,
      Tensor momentum) {
    if (parameter.value().rank() != 2) {
      throw new IllegalArgumentException("Muon updates matrices, not " + parameter.name());
    }
    this.parameter = parameter;
    this.constants = optimizer.muon();
    this.weightDecay = optimizer.weightDecay();
    this.backend = backend;
    this.newtonSchulz = newtonSchulz;
    this.scratch = scratch;
    this.momentum = momentum;
  }

  @Override
  public Parameter parameter() {
    return parameter;
  }

  @Override
  public void update(Tensor gradient, Rates.Values values, Rates rates) {
    double gradientScale = values.gradientScale();
    double learningRate = values.learningRate();
    Tensor weight = parameter.value();
    float mu = (float) constants.momentum();
    backend.axpby((float) gradientScale, gradient, mu, momentum);
    Tensor update = scratch.tensor(weight.shape());
    if (constants.nesterov()) {
      backend.copy(gradient, update);
      backend.axpby(mu, momentum, (float) gradientScale, update);
    } else {
      backend.copy(momentum, update);
    }
    newtonSchulz.orthogonalize(update);
    double size = constants.updateRms() * Math.sqrt(Math.max(weight.dim(0), weight.dim(1)));
    backend.axpby((float) (-learningRate * size), update, values.keep(weightDecay), weight);
  }

  @Override
  public SequencedMap<String, Tensor> state() {
    SequencedMap<String, Tensor> state = new LinkedHashMap<>();
    state.put(parameter.name() + ".momentum", momentum);
    return state;
  }

  /** One buffer for the updates of matrices of many shapes, one after the other. */
  static final class Scratch {
    private final Backend backend;
    private Tensor memory;

    Scratch(Backend backend) {
      this.backend = backend;
      this.memory = backend.zeros(1);
    }

    /** A tensor of that shape; the one before it is no longer valid. */
    Tensor tensor(int... shape) {
      int size = 1;
      for (int d : shape) {
        size = Math.multiplyExact(size, d);
      }
      if (memory.size() < size) {
        memory = backend.zeros(size);
      }
      return new Tensor(memory.storage(), 0, shape);
    }
  }
}
