package dev.perigee.engine.train;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.Pods;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
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
  static final RunConfig.Optimizer OPTIMIZER =
      new RunConfig.Optimizer(
          RunConfig.Optimizer.Kind.MuonClip,
          0.1,
          1,
          RunConfig.Optimizer.Muon.DEFAULT,
          RunConfig.Optimizer.AdamW.DEFAULT,
          RunConfig.Optimizer.QkClip.DEFAULT,
          1e-3);

  private TinyRun() {}

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
  static void pattern(long number, int[] ids, int[] targets, int at) {
    SplittableRandom random = new SplittableRandom(number);
    int period = 2 + random.nextInt(5);
    int[] motif = random.ints(period, 0, MODEL.vocabSize()).toArray();
    for (int i = 0; i < 32; i++) {
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

  /** One rank's whole run. */
  static Outcome train(Fabric fabric, RunConfig config, int rank) {
    Fabric.Groups groups = fabric.groups(config.mesh(), rank);
    Model model = Model.create(config.model().config(), new CpuBackend(), groups.expert());
    model.initialize(config.seed());
    Optimizer optimizer =
        new Optimizer(config.optimizer(), model.parameters(), model.backend(), groups);
    TrainStep step = new TrainStep(config, model, optimizer, groups);
    Outcome outcome = new Outcome(new ArrayList<>(), new TreeMap<>());
    for (long s = 1; s <= config.steps(); s++) {
      outcome.reports.add(step.run(s, TinyRun::pattern));
    }
    model.parameters().forEach(p -> outcome.weights.put(p.name(), numbers(p.value())));
    model.buffers().forEach((name, t) -> outcome.weights.put(name, numbers(t)));
    return outcome;
  }

  private static float[] numbers(dev.perigee.engine.tensor.Tensor t) {
    return java.util.Arrays.copyOfRange(t.floats(), t.offset(), t.offset() + t.size());
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
