package dev.perigee.engine.train;

import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.optim.QkClip;
import dev.perigee.engine.optim.RouterBalance;
import dev.perigee.engine.optim.Schedule;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.plan.StepPlan;
import dev.perigee.run.RunConfig;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;

/**
 * One rank's optimizer step. The batch is shared out over the data group in runs of consecutive
 * sequences and goes through the stages in micro-batches, by a schedule ({@link ScheduleRun}); then
 * gradients are summed, the optimizer updates, QK-Clip scales heads, and the routers' biases move.
 */
public final class TrainStep {
  private final RunConfig config;
  private final Model model;
  private final Optimizer optimizer;
  private final QkClip qkClip;
  private final Collectives data;
  private final Collectives world;
  private final StepPlan plan;
  private final dev.perigee.plan.Schedule passes;

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
    this.qkClip = new QkClip(config.optimizer().qkClip(), model.backend(), model.qkProjections());
    this.data = groups.data();
    this.world = groups.world();
    this.plan = StepPlan.of(config, model.config());
    this.passes = plan.schedule(model.config());
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
    return run(step, sequences, StepRecorder.NONE);
  }

  /** The same, and tells what was done when. */
  public StepReport run(long step, Sequences sequences, StepRecorder recorder) {
    long started = System.nanoTime();
    Figures figures;
    try {
      figures = forwardBackward(step, sequences, optimizer::gradientsReady, recorder);
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
    optimizer.update(step, learningRate, clip / figures.targets, p -> qkClip.scale(p, clipFactor));
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

  /** What all ranks add up in a step. */
  static final class Figures {
    double loss;
    double targets;
    double squares;
    boolean notFinite;

    /** The first rank that saw something not finite, else negative. */
    int firstNotFinite = -1;

    long[][] tokensPerExpert;
  }

  /** Gradients of the summed loss over this rank's share of the batch. */
  Figures forwardBackward(
      long step,
      Sequences sequences,
      Consumer<List<Parameter>> gradientsReady,
      StepRecorder recorder) {
    Figures figures = new Figures();
    int length = config.sequenceLength();
    int batch = plan.microBatchSequences();
    long share = config.batchSequences() / data.size();
    long first = (step - 1) * config.batchSequences() + data.index() * share;
    model.zeroGradients();
    model.resetStatistics();
    // Passes give the gradient of the sum; the optimizer divides by the targets of all ranks.
    ScheduleRun.Sums sums =
        new ScheduleRun(
                passes,
                model,
                batch,
                length,
                (microBatch, ids, targets) -> {
                  for (int i = 0; i < batch; i++) {
                    sequences.read(first + (long) microBatch * batch + i, ids, targets, i * length);
                  }
                },
                gradientsReady,
                /* overlapsGradients= */ data.size() > 1,
                recorder)
            .run();
    figures.loss = sums.loss();
    figures.targets = sums.targets();
    return figures;
  }

  /** Adds the figures up over all ranks; returns the largest logits. */
  private float[][] reduce(Figures figures) {
    Model.Statistics statistics = model.statistics();
    long[][] experts = statistics.tokensPerExpert();
    int perLayer = experts.length == 0 ? 0 : experts[0].length;
    double[] sums = new double[3 + world.size() + experts.length * perLayer];
    sums[0] = figures.loss;
    sums[1] = figures.targets;
    sums[2] = figures.squares;
    sums[3 + world.index()] = figures.notFinite ? 1 : 0;
    int at = 3 + world.size();
    for (int layer = 0; layer < experts.length; layer++) {
      for (int e = 0; e < perLayer; e++) {
        sums[at + layer * perLayer + e] = experts[layer][e];
      }
    }
    world.allReduceSum(sums);
    figures.loss = sums[0];
    figures.targets = sums[1];
    figures.squares = sums[2];
    for (int rank = world.size() - 1; rank >= 0; rank--) {
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
    world.allReduceMax(flat);
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
    if (world.index() == root) {
      String where = optimizer.firstNotFinite().map(p -> "the gradient of " + p).orElse("the loss");
      for (int i = 0; i < Math.min(where.length(), text.size()); i++) {
        text.floats()[i] = where.charAt(i);
      }
    }
    world.broadcast(text, root);
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
    model
        .routerBiases()
        .forEach((mixture, bias) -> RouterBalance.update(bias, tokensPerExpert[mixture], rate));
  }
}
