package dev.perigee.engine.train;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.StagePlace;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.Pods;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.plan.StepPlan;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;

/** Runs of a model like the quickstart's but much smaller, with the real optimizer. */
final class TinyRun {
  static final ModelConfig MODEL =
      new ModelConfig(
          48, 32, 64, 24, 3, 1, 4, 24, 16, 8, 4, 8, 8, 2, 1, 1, 1, 1.4, true, 10_000, null, 256,
          1e-6, 0.02, false);
  static final RunConfig.Optimizer OPTIMIZER = RunConfig.Optimizer.DEFAULT;

  static RunConfig config(Mesh mesh, long steps, RunConfig.Optimizer optimizer) {
    return new RunConfig(
        "test/tiny",
        1,
        new RunConfig.Model(MODEL, null),
        List.of(new RunConfig.DataSource("patterns", 1, "arithmetic", null)),
        new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
        32,
        16 * 32,
        mesh,
        optimizer,
        new RunConfig.Schedule(5e-3, 10, 10, 5e-4),
        steps,
        new RunConfig.Checkpoint("checkpoints", 100, 1),
        null,
        RunConfig.Network.DEFAULT);
  }

  /** A run of tokens that repeats after a few: easy to learn, hard to guess. */
  static void pattern(long number, int vocabulary, int length, int[] ids, int[] targets, int at) {
    SplittableRandom random = new SplittableRandom(number);
    int period = 2 + random.nextInt(5);
    int[] motif = random.ints(period, 0, vocabulary).toArray();
    for (int i = 0; i < length; i++) {
      ids[at + i] = motif[i % period];
      targets[at + i] = i + 1 < period ? -1 : motif[(i + 1) % period];
    }
  }

  /** What a rank reports and ends with. */
  record Outcome(List<StepReport> reports, Map<String, float[]> weights) {
    double[] losses() {
      return reports.stream().mapToDouble(StepReport::loss).toArray();
    }
  }

  final Model model;
  final Optimizer optimizer;
  private final TrainStep step;
  private final int length;

  /** One rank with its first weights. */
  TinyRun(Fabric fabric, RunConfig config, int rank) {
    this(fabric, config, rank, new CpuBackend());
  }

  /** The same on any backend. */
  TinyRun(Fabric fabric, RunConfig config, int rank, Backend backend) {
    Fabric.Groups all = fabric.groups(config.mesh(), rank);
    Fabric.Groups groups = backend instanceof CpuBackend ? all : all.staged();
    ModelConfig shape = config.model().config();
    StepPlan plan = StepPlan.of(config, shape);
    length = config.sequenceLength();
    model =
        Model.create(
            shape,
            backend,
            groups.expert(),
            new StagePlace(plan.layout(), groups.pipeline()),
            config.memory());
    model.initialize(config.seed());
    optimizer =
        new Optimizer(
            config.optimizer(),
            model.parameters(),
            model.backend(),
            groups,
            config.memory().bucketBytes());
    step = new TrainStep(config, model, optimizer, groups);
  }

  /** Takes the steps from {@code first} to {@code last}. */
  Outcome steps(long first, long last) {
    return steps(first, last, this::pattern);
  }

  /** Takes one step, and tells a recorder of it. */
  StepReport step(long number, StepRecorder recorder) {
    return step.run(number, this::pattern, recorder);
  }

  Outcome steps(long first, long last, Sequences sequences) {
    List<StepReport> reports = new ArrayList<>();
    for (long s = first; s <= last; s++) {
      reports.add(step.run(s, sequences));
    }
    return new Outcome(reports, weights());
  }

  /** Only the passes of a step: gradients are there, nothing has been summed or updated. */
  void passes(long s) {
    step.forwardBackward(s, this::pattern, ready -> {}, StepRecorder.NONE);
  }

  /** One step, recorded. */
  void record(long s, StepRecorder recorder) {
    step.run(s, this::pattern, recorder);
  }

  private void pattern(long number, int[] ids, int[] targets, int at) {
    pattern(number, model.config().vocabSize(), length, ids, targets, at);
  }

  /** Copies of this rank's weights and buffers. */
  Map<String, float[]> weights() {
    Map<String, float[]> weights = new TreeMap<>();
    model.parameters().forEach(p -> weights.put(p.name(), numbers(p.value())));
    model.buffers().forEach((name, t) -> weights.put(name, numbers(t)));
    return weights;
  }

  /** Takes what belongs to this rank from the weights and optimizer states of another run. */
  void restore(Map<String, float[]> saved) {
    model.parameters().forEach(p -> put(saved.get(p.name()), p.value()));
    model.buffers().forEach((name, t) -> put(saved.get(name), t));
    optimizer.state().forEach((name, t) -> put(saved.get(name), t));
  }

  private static void put(float[] values, Tensor into) {
    into.assign(Tensor.of(values, into.size()));
  }

  static float[] numbers(Tensor t) {
    Tensor host = t.onHost();
    return Arrays.copyOfRange(host.floats(), host.offset(), host.offset() + host.size());
  }

  private static Outcome train(Fabric fabric, RunConfig config, int rank) {
    return new TinyRun(fabric, config, rank).steps(1, config.steps());
  }

  /** A run of a mesh, in as many TCP pods as it says; one outcome for each rank. */
  static List<Outcome> run(RunConfig config) throws Exception {
    if (config.mesh().pods() == 1) {
      Fabric fabric = Fabric.local(config.mesh().world());
      return fabric.run(rank -> train(fabric, config, rank));
    }
    try (Pods pods = Pods.connect(config.mesh().pods(), config.mesh().ranksPerPod())) {
      return pods.run((fabric, rank) -> train(fabric, config, rank));
    }
  }
}
