package dev.perigee.engine.bench;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.backend.Gemm;
import dev.perigee.engine.bench.MeteredGemm.Shape;
import dev.perigee.engine.bench.MeteredGemm.Total;
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
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.CyclicBarrier;
import java.util.stream.Stream;

/**
 * Measures, in one run on one machine: the rate of large matrix products, the rate of a training
 * step with the real optimizer, and for every product inside it how OpenBLAS alone does on the same
 * shape. Tokens are random, so routing is as even as it is at the start of a training.
 */
public final class CpuBench {
  private static final int LARGE = 1536;
  private static final double CEILING_SECONDS = 1;
  private static final double OWN_SECONDS = 0.05;
  private static final double COVERED = 0.97;
  private static final int MOST_ROWS = 40;

  private CpuBench() {}

  /**
   * What to run.
   *
   * @param name of the model's shape, for the report
   * @param model the shape; {@code ranks} divides its experts
   * @param ranks threads; data-parallel, and the experts are shared between them
   * @param sequenceLength tokens of a sequence
   * @param batchTokens tokens of a step over all ranks
   * @param warmupSteps steps before measuring
   * @param steps steps to measure
   */
  public record Options(
      String name,
      ModelConfig model,
      int ranks,
      int sequenceLength,
      int batchTokens,
      int warmupSteps,
      int steps) {}

  /** The quickstart example: its model, sequences and batch. */
  public static Options quickstart(int ranks) {
    ModelConfig model = ModelPresets.find("quickstart").orElseThrow();
    return new Options("quickstart", model, ranks, 128, 4096, 40, 40);
  }

  /** Measures the quickstart with two ranks; writes the page to the file named by the argument. */
  public static void main(String[] args) throws Exception {
    if (args.length > 0) {
      BenchPage.check(Path.of(args[0]));
    }
    String page = run(quickstart(2)).toMarkdown();
    System.out.println(page);
    if (args.length > 0) {
      BenchPage.write(Path.of(args[0]), page);
    }
  }

  /** Runs the benchmark; takes some seconds. */
  public static CpuReport run(Options options) throws Exception {
    RunConfig config = config(options);
    try (Fabric fabric = Fabric.local(options.ranks)) {
      CyclicBarrier together = new CyclicBarrier(options.ranks);
      List<RankResult> results =
          fabric.run(rank -> new Rank(options, config, fabric, rank, together).run());
      return report(options, config, results);
    }
  }

  private static RunConfig config(Options o) {
    RunConfig config =
        new RunConfig(
            "bench/cpu",
            1,
            new RunConfig.Model(o.model, null),
            List.of(new RunConfig.DataSource("random", 1, "arithmetic", null)),
            new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
            o.sequenceLength,
            o.batchTokens,
            new Mesh(1, o.ranks, o.model.nRoutedExperts() == 0 ? 1 : o.ranks, o.ranks),
            RunConfig.Optimizer.DEFAULT,
            new RunConfig.Schedule(1e-3, 0, 0, 1e-3),
            o.warmupSteps + o.steps,
            new RunConfig.Checkpoint("unused", 1, 1),
            null,
            RunConfig.Network.DEFAULT);
    if (!config.problems().isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", config.problems()));
    }
    return config;
  }

  /**
   * What one rank measured.
   *
   * @param ceiling GFLOP/s of large products on this thread
   * @param optimizerFlops what the optimizer needs for the matrices of this rank; those that all
   *     ranks hold count with rank 0
   * @param groups products inside the steps, similar shapes together
   * @param own GFLOP/s of OpenBLAS alone on each group's shape, for the groups that were timed
   */
  private record RankResult(
      double ceiling,
      double optimizerFlops,
      List<StepReport> steps,
      Map<Shape, Group> groups,
      Map<Shape, Double> own) {}

  /** Products whose sizes differ little, as those of experts do. */
  private static final class Group {
    Shape longest;
    long longestNanos;
    long calls;
    long nanos;
    double flops;

    void add(Shape shape, Total total) {
      if (total.nanos > longestNanos) {
        longest = shape;
        longestNanos = total.nanos;
      }
      calls += total.calls;
      nanos += total.nanos;
      flops += total.calls * shape.flops();
    }
  }

  /** The part of one rank; all ranks do the same at the same time. */
  private static final class Rank {
    private final Options options;
    private final CyclicBarrier together;
    private final MeteredGemm gemm = new MeteredGemm(Gemm.fastest());
    private final TrainStep step;
    private final double optimizerFlops;

    Rank(Options options, RunConfig config, Fabric fabric, int rank, CyclicBarrier together) {
      this.options = options;
      this.together = together;
      Fabric.Groups groups = fabric.groups(config.mesh(), rank);
      Model model = Model.create(config.model().config(), new CpuBackend(gemm), groups.expert());
      model.initialize(config.seed());
      Optimizer optimizer =
          new Optimizer(config.optimizer(), model.parameters(), model.backend(), groups);
      step = new TrainStep(config, model, optimizer, groups);
      optimizerFlops =
          model.parameters().stream()
              .filter(p -> rank == 0 || p.sharing() == Parameter.Sharing.EXPERT)
              .mapToDouble(p -> Optimizer.productFlops(p, config.optimizer()))
              .sum();
    }

    RankResult run() throws Exception {
      Shape large = new Shape(false, true, false, LARGE, LARGE, LARGE);
      double ceiling = 0;
      for (int round = 0; round < 3; round++) {
        together.await();
        ceiling = Math.max(ceiling, rate(large, CEILING_SECONDS));
      }
      Sequences random = this::randomTokens;
      for (int i = 1; i <= options.warmupSteps; i++) {
        step.run(i, random);
      }
      gemm.reset();
      List<StepReport> steps = new ArrayList<>();
      for (int i = 1; i <= options.steps; i++) {
        steps.add(step.run(options.warmupSteps + i, random));
      }
      Map<Shape, Group> groups = group(gemm.totals());
      Map<Shape, Double> own = new HashMap<>();
      for (Shape similar : longest(groups)) {
        own.put(similar, rate(groups.get(similar).longest, OWN_SECONDS));
      }
      return new RankResult(ceiling, optimizerFlops, steps, groups, own);
    }

    private void randomTokens(long number, int[] ids, int[] targets, int at) {
      SplittableRandom random = new SplittableRandom(number);
      for (int i = 0; i < options.sequenceLength; i++) {
        ids[at + i] = random.nextInt(options.model.vocabSize());
        targets[at + i] = random.nextInt(options.model.vocabSize());
      }
    }
  }

  /** GFLOP/s of the product alone, in a loop for about so many seconds. */
  private static double rate(Shape s, double seconds) {
    Gemm gemm = Gemm.fastest();
    float[] a = random(s.m() * s.k());
    float[] b = random(s.n() * s.k());
    float[] c = random(s.m() * s.n());
    int lda = s.transposeA() ? s.m() : s.k();
    int ldb = s.transposeB() ? s.k() : s.n();
    float beta = s.adding() ? 1 : 0;
    int calls =
        (int) Math.max(1, 1e8 / s.flops()); // about a millisecond between looks at the clock
    long done = 0;
    long started = System.nanoTime();
    long nanos = 0;
    while (nanos < seconds * 1e9) {
      for (int i = 0; i < calls; i++) {
        gemm.multiply(
            s.transposeA(),
            s.transposeB(),
            s.m(),
            s.n(),
            s.k(),
            1e-6f,
            a,
            0,
            lda,
            b,
            0,
            ldb,
            beta,
            c,
            0,
            s.n());
      }
      nanos = System.nanoTime() - started;
      done += calls;
    }
    return done * s.flops() / nanos;
  }

  private static float[] random(int n) {
    SplittableRandom random = new SplittableRandom(n);
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) random.nextDouble(-1, 1);
    }
    return x;
  }

  private static Map<Shape, Group> group(Map<Shape, Total> totals) {
    Map<Shape, Group> groups = new HashMap<>();
    totals.forEach(
        (shape, total) ->
            groups.computeIfAbsent(similar(shape), s -> new Group()).add(shape, total));
    return groups;
  }

  private static Shape similar(Shape s) {
    return new Shape(
        s.transposeA(), s.transposeB(), s.adding(), round(s.m()), round(s.n()), round(s.k()));
  }

  private static int round(int n) {
    return n <= 256 ? n : (n + 64) / 128 * 128;
  }

  private static List<Shape> longest(Map<Shape, Group> groups) {
    double all = 0;
    for (Group g : groups.values()) {
      all += g.nanos;
    }
    List<Shape> chosen = new ArrayList<>();
    double covered = 0;
    for (Shape s : sorted(groups)) {
      if (covered >= COVERED * all || chosen.size() == MOST_ROWS) {
        break;
      }
      covered += groups.get(s).nanos;
      chosen.add(s);
    }
    return chosen;
  }

  private static List<Shape> sorted(Map<Shape, Group> groups) {
    List<Shape> shapes = new ArrayList<>(groups.keySet());
    shapes.sort(Comparator.comparingLong(s -> -groups.get(s).nanos));
    return shapes;
  }

  private static CpuReport report(Options o, RunConfig config, List<RankResult> ranks) {
    double ceiling = 0;
    double nanos = 0;
    double flops = 0;
    double optimizerFlops = 0;
    for (RankResult rank : ranks) {
      ceiling += rank.ceiling;
      optimizerFlops += rank.optimizerFlops;
      for (Group g : rank.groups.values()) {
        nanos += g.nanos;
        flops += g.flops;
      }
    }
    Map<Shape, Group> groups = new HashMap<>();
    Map<Shape, Double> ownSeconds = new HashMap<>();
    for (RankResult rank : ranks) {
      rank.own.forEach(
          (shape, rate) -> {
            Group from = rank.groups.get(shape);
            Group into = groups.computeIfAbsent(shape, s -> new Group());
            into.calls += from.calls;
            into.nanos += from.nanos;
            into.flops += from.flops;
            ownSeconds.merge(shape, from.flops / rate, Double::sum);
          });
    }
    List<CpuReport.Product> products = new ArrayList<>();
    for (Shape shape : sorted(groups)) {
      Group g = groups.get(shape);
      products.add(
          new CpuReport.Product(
              "%s%d × %d × %d%s"
                  .formatted(
                      shape.adding() ? "+= " : "",
                      shape.m(),
                      shape.n(),
                      shape.k(),
                      (shape.transposeA() ? ", aᵀ" : "") + (shape.transposeB() ? ", bᵀ" : "")),
              (double) g.calls / o.steps,
              g.nanos / nanos,
              g.flops / g.nanos * o.ranks,
              g.flops / ownSeconds.get(shape) * o.ranks));
    }
    List<StepReport> steps = ranks.getFirst().steps;
    double[] seconds = steps.stream().mapToDouble(StepReport::seconds).sorted().toArray();
    double exchange = steps.stream().mapToDouble(StepReport::exchangeSeconds).average().orElse(0);
    return new CpuReport(
        machine(),
        o.name,
        o.ranks,
        o.sequenceLength,
        o.batchTokens,
        ceiling,
        products,
        seconds[seconds.length / 2],
        FlopCount.model(o.model, o.sequenceLength).training() * config.batchTokens(),
        optimizerFlops,
        flops / o.steps,
        nanos / o.steps / o.ranks / 1e9,
        exchange);
  }

  /** Processor and virtual machine, as far as they say what they are. */
  private static String machine() {
    String processor = System.getProperty("os.arch");
    try (Stream<String> lines = Files.lines(Path.of("/proc/cpuinfo"))) {
      processor =
          lines
              .filter(line -> line.startsWith("model name"))
              .map(line -> line.substring(line.indexOf(':') + 1).strip())
              .findFirst()
              .orElse(processor);
    } catch (IOException | UncheckedIOException notLinux) {
      // The architecture has to do.
    }
    return "%s, %d cores, Java %s"
        .formatted(
            processor,
            Runtime.getRuntime().availableProcessors(),
            System.getProperty("java.version"));
  }
}
