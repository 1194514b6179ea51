package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.cuda.driver.Cuda;
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
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
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

  // Cases of the script.
  private static final String EAGER = "forward+backward eager";
  private static final String COMPILED = "forward+backward compiled";
  private static final String STEP = "step compiled";

  private final RunConfig config;
  private final ModelConfig shape;
  private final Sequences sequences;
  private final List<StepReport> steps = new ArrayList<>();
  private double[] passes = {}; // milliseconds
  private String device = "";
  private String version = "";
  private double parameters;

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
   * Arguments: the text (a file or folder as a data source of a job takes it), the steps to train,
   * the file for the page.
   */
  public static void main(String[] args) throws Exception {
    Optional<String> why = Cuda.whyAbsent();
    if (why.isPresent()) {
      System.err.println("bench train: " + why.get());
      System.exit(1);
    }
    if (args.length != 3) {
      System.err.println("bench train: expected TEXT STEPS PAGE, not " + List.of(args));
      System.exit(2);
    }
    Path file = Path.of(args[2]);
    BenchPage.check(file);
    RunConfig config = config(args[0], Long.parseLong(args[1]));
    if (!config.problems().isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", config.problems()));
    }
    TrainBench bench = new TrainBench(config, TrainingData.load(config, Path.of("")));
    bench.train();
    String page = bench.page(bench.baselines());
    System.out.println(page);
    BenchPage.write(file, page);
  }

  private static RunConfig config(String text, long steps) {
    return new RunConfig(
        "bench/gpu-train",
        1,
        new RunConfig.Model(slice(), null),
        List.of(new RunConfig.DataSource("text", 1, null, text)),
        new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
        LENGTH,
        (long) LENGTH * MICRO_BATCH * MICRO_BATCHES,
        new Mesh(1, 1, 1, 1),
        RunConfig.Optimizer.DEFAULT,
        new RunConfig.Schedule(6e-4, 10, 0, 6e-4),
        steps,
        new RunConfig.Checkpoint("unused", 1, 1),
        null,
        RunConfig.Network.DEFAULT,
        new RunConfig.Pipeline(1, MICRO_BATCH, false, false, null),
        RunConfig.Memory.DEFAULT,
        new RunConfig.Compute(RunConfig.Compute.Backend.cuda, RunConfig.Compute.Precision.bf16),
        null);
  }

  /** The first layers of Moonlight, whose first is dense. */
  static ModelConfig slice() {
    return first(ModelPresets.find("moonlight-16b-a3b").orElseThrow(), LAYERS);
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
      device = backend.deviceName();
      parameters = model.parameters().stream().mapToDouble(p -> p.value().size()).sum();
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
    Map<String, TorchBaselines.Measured> measured = new LinkedHashMap<>();
    Optional<TorchBaselines> torch = TorchBaselines.start();
    if (torch.isEmpty()) {
      return measured;
    }
    try (TorchBaselines t = torch.get()) {
      version = t.version();
      t.prepare("train", sizes());
      measured.put(EAGER, t.run(EAGER, GpuLab.REPEATS));
      measured.put(COMPILED, t.run(COMPILED, GpuLab.REPEATS));
      measured.put(STEP, t.run(STEP, LAST_STEPS));
    }
    return measured;
  }

  private Map<String, Object> sizes() {
    Map<String, Object> sizes = new LinkedHashMap<>();
    sizes.put("vocabulary", shape.vocabSize());
    sizes.put("hidden", shape.hiddenSize());
    sizes.put("dense", shape.intermediateSize());
    sizes.put("width", shape.moeIntermediateSize());
    sizes.put("layers", shape.numHiddenLayers());
    sizes.put("heads", shape.numAttentionHeads());
    sizes.put("latent", shape.kvLoraRank());
    sizes.put("experts", shape.nRoutedExperts());
    sizes.put("chosen", shape.numExpertsPerTok());
    sizes.put("shared", shape.nSharedExperts() * shape.moeIntermediateSize());
    sizes.put("scale", shape.routedScalingFactor());
    sizes.put("theta", shape.ropeTheta());
    sizes.put("epsilon", shape.rmsNormEps());
    sizes.put("sequences", MICRO_BATCH);
    sizes.put("tokens", LENGTH);
    sizes.put("micro_batches", MICRO_BATCHES);
    return sizes;
  }

  private String page(Map<String, TorchBaselines.Measured> torch) {
    StringBuilder page = new StringBuilder();
    page.append(
        String.format(
            Locale.ROOT,
            "%s%s, %s. %d layers of Moonlight (the first dense), %.2f G parameters, sequences of %d"
                + " tokens, %d a micro-batch, %d micro-batches a step.%n%n",
            device,
            version.isEmpty() ? "" : ", PyTorch " + version,
            LocalDate.now(ZoneOffset.UTC),
            shape.numHiddenLayers(),
            parameters / 1e9,
            LENGTH,
            MICRO_BATCH,
            MICRO_BATCHES));
    page.append("| what | median (p10–p90) | tokens/s | model TF | MFU |\n|---|---|---|---|---|\n");
    long micro = (long) MICRO_BATCH * LENGTH;
    row(page, "forward + backward, ours", passes, micro);
    for (String name : List.of(EAGER, COMPILED)) {
      if (torch.containsKey(name)) {
        row(page, name.replace("+", " + ") + " PyTorch", torch.get(name).ms(), micro);
      }
    }
    double[] last =
        steps.stream()
            .skip(Math.max(0, steps.size() - LAST_STEPS))
            .mapToDouble(r -> 1e3 * r.seconds())
            .toArray();
    row(page, "step, ours", last, config.batchTokens());
    if (torch.containsKey(STEP)) {
      row(page, STEP + " PyTorch", torch.get(STEP).ms(), config.batchTokens());
      page.append(
          String.format(
              Locale.ROOT,
              "%nOurs over compiled PyTorch: %.2f × forward + backward, %.2f × the step.%n",
              GpuLab.median(torch.get(COMPILED).ms()) / GpuLab.median(passes),
              GpuLab.median(torch.get(STEP).ms()) / GpuLab.median(last)));
    }
    page.append("\n| step | loss, nats a byte | gradient | largest logit |\n|---|---|---|---|\n");
    for (StepReport r : steps) {
      if (r.step() == 1 || r.step() % Math.max(1, config.steps() / 10) == 0) {
        page.append(
            String.format(
                Locale.ROOT,
                "| %d | %.4f | %.2f | %.1f |%n",
                r.step(),
                r.loss(),
                r.gradNorm(),
                r.largestLogit()));
      }
    }
    return page.toString();
  }

  private void row(StringBuilder page, String what, double[] ms, long tokens) {
    double[] sorted = ms.clone();
    Arrays.sort(sorted);
    double median = GpuLab.median(sorted);
    double rate = tokens * FlopCount.model(shape, LENGTH).training() / (median / 1e3);
    page.append(
        String.format(
            Locale.ROOT,
            "| %s | %.2f ms (%.2f–%.2f) | %.0f | %.0f | %.1f %% |%n",
            what,
            median,
            sorted[sorted.length / 10],
            sorted[sorted.length * 9 / 10],
            tokens / (median / 1e3),
            rate / 1e12,
            100 * rate / H100_BF16_FLOPS));
  }
}
