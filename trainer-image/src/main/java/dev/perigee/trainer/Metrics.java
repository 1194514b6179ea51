package dev.perigee.trainer;

import dev.perigee.engine.train.StepReport;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunStatus;
import io.prometheus.client.CollectorRegistry;
import io.prometheus.client.Counter;
import io.prometheus.client.Gauge;
import io.prometheus.client.Histogram;
import io.prometheus.client.exporter.common.TextFormat;
import io.prometheus.client.hotspot.DefaultExports;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.util.ArrayList;
import java.util.List;

/**
 * What {@code /metrics} says, described in {@code docs/metrics.md}. Figures of a step are those of
 * the whole job and the same in every pod; figures that are not known yet are NaN.
 */
final class Metrics {
  private static final double[] SECONDS = {
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100
  };

  private final CollectorRegistry registry = new CollectorRegistry();
  private final List<Integer> moeLayers = new ArrayList<>();

  private final Gauge phase =
      labelled("perigee_phase", "1 for the phase that the program is in, else 0.", "phase");
  private final Gauge step = gauge("perigee_step", "Optimizer steps done.");
  private final Gauge totalSteps = gauge("perigee_total_steps", "Optimizer steps of the job.");
  private final Gauge durableStep =
      gauge("perigee_durable_step", "Step of the newest checkpoint on the volume.");
  private final Gauge loss = gauge("perigee_loss", "Mean cross-entropy of the last step, in nats.");
  private final Gauge gradientNorm =
      gauge("perigee_gradient_norm", "Global gradient norm of the last step, before clipping.");
  private final Gauge learningRate =
      gauge("perigee_learning_rate", "Learning rate of the last step.");
  private final Gauge tokensPerSecond =
      gauge("perigee_tokens_per_second", "Tokens a second over all ranks and the last steps.");
  private final Counter tokens =
      Counter.build("perigee_tokens_total", "Tokens trained on since this program started.")
          .register(registry);
  private final Histogram stepSeconds =
      histogram("perigee_step_seconds", "Time of an optimizer step.");
  private final Histogram exchangeSeconds =
      histogram(
          "perigee_exchange_seconds",
          "Time of a step that went into exchange between ranks, waiting included.");
  private final Gauge maxLogit =
      labelled(
          "perigee_attention_logit_max",
          "Largest attention logit of a head in the last step.",
          "layer",
          "head");
  private final Gauge clipFactor =
      labelled(
          "perigee_qk_clip_factor",
          "Factor that QK-Clip put on a head's logits after the last step; 1 for none.",
          "layer",
          "head");
  private final Gauge clippedHeads =
      gauge("perigee_clipped_heads", "Heads that QK-Clip scaled after the last step.");
  private final Counter expertTokens =
      Counter.build("perigee_expert_tokens_total", "Tokens that chose an expert, by layer.")
          .labelNames("layer", "expert")
          .register(registry);
  private final Gauge expertImbalance =
      gauge(
          "perigee_expert_imbalance",
          "Tokens of the busiest expert over the mean in the last step, largest over the layers.");
  private final Histogram checkpointSeconds =
      histogram("perigee_checkpoint_seconds", "Time to write a checkpoint until it was durable.");
  private final Gauge evaluationLoss =
      gauge("perigee_evaluation_loss", "Mean cross-entropy on held-out text, in nats a token.");
  private final Gauge evaluationBits =
      gauge("perigee_evaluation_bits_per_byte", "The same in bits a byte of text.");
  private final Gauge evaluationExact =
      gauge("perigee_evaluation_exact_ratio", "Share of held-out problems answered exactly.");
  private volatile long savedAtNanos = Long.MIN_VALUE;

  Metrics(ModelConfig model, long stepsOfJob) {
    for (int layer = 0; layer < model.numHiddenLayers(); layer++) {
      if (model.isMoeLayer(layer)) {
        moeLayers.add(layer);
      }
    }
    totalSteps.set((double) stepsOfJob);
    enter(RunStatus.Phase.Starting);
    Gauge.build("perigee_checkpoint_age_seconds", "Time since the newest checkpoint was durable.")
        .create()
        .setChild(
            new Gauge.Child() {
              @Override
              public double get() {
                long saved = savedAtNanos;
                return saved == Long.MIN_VALUE ? Double.NaN : (System.nanoTime() - saved) / 1e9;
              }
            })
        .register(registry);
    DefaultExports.register(registry);
  }

  private Gauge gauge(String name, String help) {
    Gauge gauge = Gauge.build(name, help).register(registry);
    gauge.set(Double.NaN);
    return gauge;
  }

  private Gauge labelled(String name, String help, String... labels) {
    return Gauge.build(name, help).labelNames(labels).register(registry);
  }

  private Histogram histogram(String name, String help) {
    return Histogram.build(name, help).buckets(SECONDS).register(registry);
  }

  void enter(RunStatus.Phase now) {
    for (RunStatus.Phase each : RunStatus.Phase.values()) {
      phase.labels(each.name()).set(each == now ? 1 : 0);
    }
  }

  void resumed(long fromStep) {
    step.set((double) fromStep);
  }

  void stepped(StepReport report, Double speed) {
    step.set((double) report.step());
    loss.set(report.loss());
    gradientNorm.set(report.gradNorm());
    learningRate.set(report.learningRate());
    tokensPerSecond.set(speed == null ? Double.NaN : speed);
    tokens.inc((double) report.tokens());
    stepSeconds.observe(report.seconds());
    exchangeSeconds.observe(report.exchangeSeconds());
    clippedHeads.set(report.clippedHeads());
    expertImbalance.set(report.expertImbalance());
    for (int layer = 0; layer < report.maxLogit().length; layer++) {
      for (int head = 0; head < report.maxLogit()[layer].length; head++) {
        String[] at = {Integer.toString(layer), Integer.toString(head)};
        maxLogit.labels(at).set(report.maxLogit()[layer][head]);
        clipFactor.labels(at).set(report.clipFactor()[layer][head]);
      }
    }
    for (int i = 0; i < report.tokensPerExpert().length; i++) {
      String layer = Integer.toString(moeLayers.get(i));
      for (int expert = 0; expert < report.tokensPerExpert()[i].length; expert++) {
        expertTokens
            .labels(layer, Integer.toString(expert))
            .inc((double) report.tokensPerExpert()[i][expert]);
      }
    }
  }

  void saved(long atStep, double seconds) {
    durable(atStep);
    checkpointSeconds.observe(seconds);
    savedAtNanos = System.nanoTime();
  }

  void durable(long atStep) {
    durableStep.set((double) atStep);
  }

  void evaluated(RunStatus.Evaluation result) {
    evaluationLoss.set(orNaN(result.loss()));
    evaluationBits.set(orNaN(result.bitsPerByte()));
    evaluationExact.set(orNaN(result.exact()));
  }

  private static double orNaN(Double value) {
    return value == null ? Double.NaN : value;
  }

  /** Writes everything in Prometheus' text format. */
  void write(Writer out) {
    try {
      TextFormat.write004(out, registry.metricFamilySamples());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
