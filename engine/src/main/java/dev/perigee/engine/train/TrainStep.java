package dev.perigee.engine.train;

import dev.perigee.engine.model.Model;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.optim.QkClip;
import dev.perigee.engine.optim.RouterBalance;
import dev.perigee.engine.optim.Schedule;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.Arrays;
import java.util.List;

/**
 * One rank's optimizer step. The batch is shared out over the data group in runs of consecutive
 * sequences and worked through in micro-batches; then gradients are summed, the optimizer updates,
 * QK-Clip scales heads, and the routers' biases move.
 */
public final class TrainStep {
  /**
   * Tokens that a micro-batch has at most, if one sequence is not longer: few enough for the
   * activations of a small model to stay in a core's own cache, which is worth a quarter of a step.
   */
  private static final int MICRO_BATCH_TOKENS = 512;

  private final RunConfig config;
  private final Model model;
  private final Optimizer optimizer;
  private final QkClip qkClip;
  private final Collectives data;
  private final int microBatch;
  private final int[] ids;
  private final int[] targets;

  /**
   * A step for one rank.
   *
   * @param config batch, sequence length, schedule and constants, without {@link
   *     RunConfig#problems}
   */
  public TrainStep(RunConfig config, Model model, Optimizer optimizer, Fabric.Groups groups) {
    this.config = config;
    this.model = model;
    this.optimizer = optimizer;
    this.qkClip =
        new QkClip(config.optimizer().qkClip(), model.backend(), model.qkProjections());
    this.data = groups.data();
    this.microBatch = microBatch(config.batchSequences() / data.size(), config.sequenceLength());
    this.ids = new int[microBatch * config.sequenceLength()];
    this.targets = new int[ids.length];
  }

  /**
   * Sequences of a micro-batch: the largest power of two that divides a rank's share and stays
   * within {@link #MICRO_BATCH_TOKENS}. A power of two gives meshes of 1, 2 and 4 ranks the same
   * micro-batches as long as the share is large enough.
   */
  static int microBatch(long sequences, int sequenceLength) {
    int size = 1;
    while (sequences % (2L * size) == 0 && 2L * size * sequenceLength <= MICRO_BATCH_TOKENS) {
      size *= 2;
    }
    return size;
  }

  /**
   * Takes one step.
   *
   * @param step from 1
   * @throws NotFiniteException on every rank when the loss or a gradient is not finite; the weights
   *     are those before the step
   * @throws IllegalArgumentException on every rank when the batch has no targets
   * @throws dev.perigee.engine.parallel.LostPeerException when a peer is gone
   */
  public StepReport run(long step, Sequences sequences) {
    long started = System.nanoTime();
    Figures figures;
    try {
      figures = forwardBackward(step, sequences);
    } catch (ArithmeticException diverged) {
      throw new NotFiniteException("step " + step + ": " + diverged.getMessage());
    }

    long exchangeStarted = System.nanoTime();
    double ownSquares = optimizer.reduceGradients();
    figures.squares = ownSquares;
    figures.notFinite = !Double.isFinite(ownSquares) || !Double.isFinite(figures.loss);
    float[][] maxLogit = reduce(figures);
    long exchange = System.nanoTime() - exchangeStarted;
    if (figures.firstNotFinite >= 0) {
      throw notFinite(step, figures);
    }
    if (figures.targets == 0) {
      throw new IllegalArgumentException(
          "step " + step + ": no token of the batch has a target; nothing can be learned from it");
    }

    double gradNorm = Math.sqrt(figures.squares) / figures.targets;
    double limit = config.optimizer().gradientClip();
    double clip = limit > 0 && gradNorm > limit ? limit / gradNorm : 1;
    double learningRate = Schedule.learningRate(config.schedule(), step, config.steps());
    float[][] clipFactor = clipFactors(maxLogit);
    optimizer.update(
        step, learningRate, clip / figures.targets, p -> qkClip.scale(p, clipFactor));
    long publishStarted = System.nanoTime();
    optimizer.publishWeights();
    exchange += System.nanoTime() - publishStarted;
    balance(figures.tokensPerExpert);
    return new StepReport(
        step,
        figures.loss / figures.targets,
        gradNorm,
        learningRate,
        maxLogit,
        clipFactor,
        QkClip.clipped(clipFactor),
        figures.tokensPerExpert,
        config.batchSequences() * config.sequenceLength(),
        (System.nanoTime() - started) / 1e9,
        exchange / 1e9);
  }

  /** γ of each head, [layer][head]: 1 where it stays, and for AdamW everywhere. */
  private float[][] clipFactors(float[][] maxLogit) {
    if (config.optimizer().kind() == RunConfig.Optimizer.Kind.MuonClip) {
      return QkClip.factors(config.optimizer().qkClip(), maxLogit);
    }
    float[][] ones = new float[maxLogit.length][];
    for (int layer = 0; layer < ones.length; layer++) {
      ones[layer] = new float[maxLogit[layer].length];
      Arrays.fill(ones[layer], 1);
    }
    return ones;
  }

  /** What the ranks of the data group add up in a step. */
  private static final class Figures {
    double loss;
    double targets;
    double squares;
    boolean notFinite;

    /** Index in the data group of the first rank that saw something not finite, else negative. */
    int firstNotFinite = -1;

    long[][] tokensPerExpert;
  }

  private Figures forwardBackward(long step, Sequences sequences) {
    Figures figures = new Figures();
    int length = config.sequenceLength();
    long share = config.batchSequences() / data.size();
    long first = (step - 1) * config.batchSequences() + data.index() * share;
    model.zeroGradients();
    model.resetStatistics();
    for (long at = 0; at < share; at += microBatch) {
      for (int i = 0; i < microBatch; i++) {
        sequences.read(first + at + i, ids, targets, i * length);
      }
      for (int target : targets) {
        figures.targets += target >= 0 ? 1 : 0;
      }
      // The gradient of the sum; the optimizer divides by the targets of all ranks.
      boolean last = at + microBatch == share;
      figures.loss +=
          model.forwardBackward(
              ids,
              targets,
              microBatch,
              length,
              1,
              done -> {
                if (last) {
                  optimizer.gradientsReady(done);
                }
              });
    }
    return figures;
  }

  /** Adds the figures up over the data group; returns the largest logits. */
  private float[][] reduce(Figures figures) {
    Model.Statistics statistics = model.statistics();
    long[][] experts = statistics.tokensPerExpert();
    int perLayer = experts.length == 0 ? 0 : experts[0].length;
    double[] sums = new double[3 + data.size() + experts.length * perLayer];
    sums[0] = figures.loss;
    sums[1] = figures.targets;
    sums[2] = figures.squares;
    sums[3 + data.index()] = figures.notFinite ? 1 : 0;
    int at = 3 + data.size();
    for (int layer = 0; layer < experts.length; layer++) {
      for (int e = 0; e < perLayer; e++) {
        sums[at + layer * perLayer + e] = experts[layer][e];
      }
    }
    data.allReduceSum(sums);
    figures.loss = sums[0];
    figures.targets = sums[1];
    figures.squares = sums[2];
    for (int rank = data.size() - 1; rank >= 0; rank--) {
      figures.firstNotFinite = sums[3 + rank] > 0 ? rank : figures.firstNotFinite;
    }
    figures.tokensPerExpert = new long[experts.length][perLayer];
    for (int layer = 0; layer < experts.length; layer++) {
      for (int e = 0; e < perLayer; e++) {
        figures.tokensPerExpert[layer][e] = (long) sums[at + layer * perLayer + e];
      }
    }
    return reduceMax(statistics.maxLogit());
  }

  private float[][] reduceMax(float[][] local) {
    int heads = local.length == 0 ? 0 : local[0].length;
    Tensor flat = Tensor.zeros(local.length * heads);
    for (int layer = 0; layer < local.length; layer++) {
      System.arraycopy(local[layer], 0, flat.floats(), layer * heads, heads);
    }
    data.allReduceMax(flat);
    float[][] global = new float[local.length][];
    for (int layer = 0; layer < local.length; layer++) {
      global[layer] = Arrays.copyOfRange(flat.floats(), layer * heads, (layer + 1) * heads);
    }
    return global;
  }

  /** The first rank that saw it tells the others where, so that every log says the same. */
  private NotFiniteException notFinite(long step, Figures figures) {
    int root = figures.firstNotFinite;
    Tensor text = Tensor.zeros(256);
    if (data.index() == root) {
      String where = optimizer.firstNotFinite().map(p -> "the gradient of " + p).orElse("the loss");
      for (int i = 0; i < Math.min(where.length(), text.size()); i++) {
        text.floats()[i] = where.charAt(i);
      }
    }
    data.broadcast(text, root);
    StringBuilder where = new StringBuilder();
    for (int i = 0; i < text.size() && text.floats()[i] != 0; i++) {
      where.append((char) text.floats()[i]);
    }
    return new NotFiniteException(
        "step "
            + step
            + ": "
            + where
            + " is not finite (loss "
            + figures.loss / figures.targets
            + "); a lower learning rate or a longer warm-up may help");
  }

  private void balance(long[][] tokensPerExpert) {
    double rate = config.optimizer().routerBiasRate();
    if (rate == 0) {
      return;
    }
    List<Tensor> biases = List.copyOf(model.buffers().values());
    for (int layer = 0; layer < biases.size(); layer++) {
      RouterBalance.update(biases.get(layer), tokensPerExpert[layer], rate);
    }
  }
}
