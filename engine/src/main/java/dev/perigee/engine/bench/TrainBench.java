package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.Cuda;
import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.data.Sequence;
import dev.perigee.engine.data.TrainingData;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.train.Sequences;
import dev.perigee.engine.train.StepReport;
import dev.perigee.engine.train.TrainStep;
import dev.perigee.plan.FlopCount;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/**
 * Trains the first layers of Moonlight on one GPU on text, with Muon and in bf16, and measures the
 * same model in PyTorch in the same run: tokens a second, and the share of the chip's bf16 rate
 * that the model's products come to. The text's bytes are the tokens; embedding and head have all
 * rows of Moonlight's vocabulary.
 */
public final class TrainBench {
  private static final double H100_BF16_FLOPS = 989.4e12; // the data sheet's, without sparsity
  private static final int LAYERS = 4; // the first is dense
  private static final int LENGTH = 4096;
  private static final int MICRO_BATCH = 2; // sequences
  private static final int MICRO_BATCHES = 4;
  private static final int LAST_STEPS = 20; // that the rate is taken from

  private final RunConfig config;
  private final ModelConfig shape;
  private final Sequences sequences;
  private final List<StepReport> steps = new ArrayList<>();
  private double[] passes = {};

  private TrainBench(RunConfig config, TrainingData data) {
    this.config = config;
    this.shape = config.model().config();
    this.sequences =
        (number, ids, targets, at) -> {
          Sequence s = data.sequence(number);
          System.arraycopy(s.ids(), 0, ids, at, LENGTH);
          System.arraycopy(s.targets(), 0, targets, at, LENGTH);
        };
  }

  /**
   * Arguments: the file for the page, the text (a file or folder as a data source of a job takes
   * it), the steps to train (200 unless given).
   */
  public static void main(String[] args) throws Exception {
    Optional<String> why = Cuda.whyAbsent();
    if (why.isPresent()) {
      System.err.println(why.get());
      System.exit(1);
    }
    if (args.length < 2 || args.length > 3) {
      System.err.println("bench gpu-train: expected PAGE TEXT [STEPS], not " + List.of(args));
      System.exit(2);
    }
    RunConfig config = config(args[1], args.length > 2 ? Long.parseLong(args[2]) : 200);
    if (!config.problems().isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", config.problems()));
    }
    TrainBench bench = new TrainBench(config, TrainingData.load(config, Path.of("")));
    bench.train();
    String page = bench.page(bench.baselines());
    System.out.println(page);
    Files.writeString(Path.of(args[0]), page, StandardCharsets.UTF_8);
  }

  private static RunConfig config(String text, long steps) {
    ModelConfig whole = ModelPresets.find("moonlight-16b-a3b").orElseThrow();
    return new RunConfig(
        "bench/gpu-train",
        1,
        new RunConfig.Model(first(whole, LAYERS), null),
        List.of(new RunConfig.DataSource("text", 1, null, text)),
        new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
        LENGTH,
        (long) LENGTH * MICRO_BATCH * MICRO_BATCHES,
        new Mesh(1, 1, 1, 1),
        new RunConfig.Optimizer(
            RunConfig.Optimizer.Kind.MuonClip,
            0.1,
            1,
            RunConfig.Optimizer.Muon.DEFAULT,
            RunConfig.Optimizer.AdamW.DEFAULT,
            RunConfig.Optimizer.QkClip.DEFAULT,
            1e-3),
        new RunConfig.Schedule(6e-4, 10, 0, 6e-4),
        steps,
        new RunConfig.Checkpoint("unused", 1, 1),
        null,
        RunConfig.Network.DEFAULT,
        new RunConfig.Pipeline(1, MICRO_BATCH, false, false, null),
        RunConfig.Memory.DEFAULT,
        new RunConfig.Compute(RunConfig.Compute.Backend.cuda, RunConfig.Compute.Precision.bf16));
  }

  private static ModelConfig first(ModelConfig c, int layers) {
    return new ModelConfig(
        c.vocabSize(),
        c.hiddenSize(),
        c.intermediateSize(),
        c.moeIntermediateSize(),
        layers,
        c.firstKDenseReplace(),
        c.numAttentionHeads(),
        c.qLoraRank(),
        c.kvLoraRank(),
        c.qkNopeHeadDim(),
        c.qkRopeHeadDim(),
        c.vHeadDim(),
        c.nRoutedExperts(),
        c.numExpertsPerTok(),
        c.nSharedExperts(),
        c.nGroup(),
        c.topkGroup(),
        c.routedScalingFactor(),
        c.normTopkProb(),
        c.ropeTheta(),
        c.ropeScaling(),
        c.maxPositionEmbeddings(),
        c.rmsNormEps(),
        c.initializerRange(),
        c.tieWordEmbeddings());
  }

  private void train() throws Exception {
    try (CudaBackend backend = CudaBackend.open(0, Precision.BF16);
        Fabric fabric = Fabric.local(1)) {
      Fabric.Groups groups = fabric.groups(config.mesh(), 0);
      Model model = Model.create(shape, backend, groups.expert());
      int seed = 1;
      for (Parameter p : model.parameters()) {
        if (p.value().rank() == 2) {
          backend.fillNormal(p.value(), seed++, (float) shape.initializerRange());
        }
      }
      Optimizer optimizer = new Optimizer(config.optimizer(), model.parameters(), backend, groups);
      TrainStep step = new TrainStep(config, model, optimizer, groups);
      for (long i = 1; i <= config.steps(); i++) {
        StepReport r = step.run(i, sequences);
        steps.add(r);
        if (i <= 5 || i % 10 == 0) {
          System.err.printf(
              Locale.ROOT,
              "step %d: loss %.4f, gradient %.2f, largest logit %.1f, %.0f ms%n",
              i,
              r.loss(),
              r.gradNorm(),
              r.largestLogit(),
              1e3 * r.seconds());
        }
      }
      passes = passes(model, backend);
    }
  }

  /**
   * Milliseconds of forward and backward of one micro-batch, each from an idle device to the next.
   */
  private double[] passes(Model model, CudaBackend backend) {
    int[] ids = new int[MICRO_BATCH * LENGTH];
    int[] targets = new int[ids.length];
    for (int i = 0; i < MICRO_BATCH; i++) {
      sequences.read(i, ids, targets, i * LENGTH);
    }
    double[] ms = new double[GpuLab.REPEATS];
    backend.synchronize();
    for (int i = 0; i < ms.length; i++) {
      long start = System.nanoTime();
      model.forwardBackward(ids, targets, MICRO_BATCH, LENGTH, 1.0 / ids.length);
      backend.synchronize();
      ms[i] = (System.nanoTime() - start) / 1e6;
    }
    return ms;
  }

  /** What PyTorch takes, by the script's names; empty without PyTorch. */
  private Map<String, TorchBaselines.Measured> baselines() throws IOException {
    return Map.of();
  }

  private String page(Map<String, TorchBaselines.Measured> torch) {
    double tokens = config.batchTokens();
    double flops = FlopCount.model(shape, LENGTH).training();
    double[] last =
        steps.stream()
            .skip(Math.max(0, steps.size() - LAST_STEPS))
            .mapToDouble(StepReport::seconds)
            .toArray();
    double step = GpuLab.median(last);
    double pass = GpuLab.median(passes) / 1e3;
    double micro = MICRO_BATCH * LENGTH;
    return String.format(
        Locale.ROOT,
        "%s%nstep %.1f ms, %.0f tokens/s, MFU %.1f %%; forward and backward of %.0f tokens %.2f ms,"
            + " %.0f tokens/s, %.0f TF, MFU %.1f %%; loss %.4f to %.4f%n",
        Arrays.toString(last),
        1e3 * step,
        tokens / step,
        100 * tokens * flops / step / H100_BF16_FLOPS,
        micro,
        1e3 * pass,
        micro / pass,
        micro * flops / pass / 1e12,
        100 * micro * flops / pass / H100_BF16_FLOPS,
        steps.getFirst().loss(),
        steps.getLast().loss());
  }
}
