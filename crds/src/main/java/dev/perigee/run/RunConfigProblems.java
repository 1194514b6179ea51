package dev.perigee.run;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** The rules of {@link RunConfig}, section by section in its order. */
final class RunConfigProblems {
  private final RunConfig run;
  private final List<String> found = new ArrayList<>();

  private RunConfigProblems(RunConfig run) {
    this.run = run;
  }

  /** What is wrong, one line each, naming the field; empty when nothing. */
  static List<String> of(RunConfig run) {
    RunConfigProblems problems = new RunConfigProblems(run);
    problems.check();
    return problems.found;
  }

  private void check() {
    require(run.job() != null && !run.job().isBlank(), "job: missing; expected namespace/name");
    model();
    data();
    tokenizer();
    int length = run.sequenceLength();
    require(length >= 2, "sequenceLength: " + length + " is less than 2");
    require(run.steps() >= 1, "steps: " + run.steps() + " is less than 1");
    mesh();
    pipeline();
    memory();
    compute();
    optimizer();
    schedule();
    checkpoint();
    evaluation();
    trace();
    network();
  }

  private void model() {
    RunConfig.Model model = run.model();
    if (model == null || (model.config() == null && model.from() == null)) {
      found.add("model: missing; expected a config, a folder in from, or both");
    } else if (model.config() != null) {
      found.addAll(model.config().problems());
    }
    require(
        model == null || model.digest() == null || model.from() != null,
        "model.digest: expected only with a folder in from");
  }

  private void data() {
    require(!run.data().isEmpty(), "data: empty; expected at least one source");
    require(
        run.data().size() <= RunConfig.DataSource.MOST,
        "data: "
            + run.data().size()
            + " sources; expected at most "
            + RunConfig.DataSource.MOST
            + ", put the files of several into one folder");
    Set<String> names = new HashSet<>();
    for (int i = 0; i < run.data().size(); i++) {
      RunConfig.DataSource source = run.data().get(i);
      String at = "data[" + i + "]";
      require(source.name() != null && !source.name().isBlank(), at + ".name: missing");
      require(names.add(source.name()), at + ".name: " + source.name() + " is used twice");
      require(
          source.weight() > 0 && Double.isFinite(source.weight()),
          at + ".weight: " + source.weight() + " is not a positive number");
      require(
          (source.builtin() == null) != (source.path() == null),
          at + ": expected exactly one of builtin and path");
    }
  }

  private void tokenizer() {
    RunConfig.Tokenizer tokenizer = run.tokenizer();
    if (tokenizer == null || tokenizer.kind() == null) {
      found.add("tokenizer.kind: missing; expected bytes or tiktoken");
    } else {
      require(
          (tokenizer.kind() == RunConfig.Tokenizer.Kind.tiktoken) == (tokenizer.path() != null),
          "tokenizer.path: expected for tiktoken, and only for it");
    }
  }

  private void mesh() {
    if (run.mesh() == null) {
      found.add("mesh: missing");
      return;
    }
    ModelConfig shape = run.model() == null ? null : run.model().config();
    List<String> problems = run.mesh().problems(shape == null ? -1 : shape.nRoutedExperts());
    found.addAll(problems);
    if (problems.isEmpty() && run.sequenceLength() >= 2) {
      long unit = (long) run.sequenceLength() * run.mesh().data();
      require(
          run.batchTokens() >= unit && run.batchTokens() % unit == 0,
          "batchTokens: "
              + run.batchTokens()
              + " is not a multiple of sequenceLength × data = "
              + unit
              + "; the nearest that works is "
              + Math.max(1, Math.round((double) run.batchTokens() / unit)) * unit);
    }
  }

  private void pipeline() {
    RunConfig.Pipeline pipeline = run.pipeline();
    require(
        pipeline.virtualStages() >= 1,
        "parallelism.virtualStages: " + pipeline.virtualStages() + " is less than 1");
    require(
        pipeline.microBatchSequences() == null || pipeline.microBatchSequences() >= 1,
        "parallelism.microBatchSequences: " + pipeline.microBatchSequences() + " is less than 1");
    require(
        pipeline.layout() == null || !pipeline.layout().isEmpty(),
        "parallelism.layout: empty; expected the layers of each of the pipeline × virtualStages"
            + " chunks");
  }

  private void memory() {
    RunConfig.Memory memory = run.memory();
    require(
        memory.bucketMebibytes() >= 1 && memory.bucketMebibytes() <= 4096,
        "memory.bucketMebibytes: " + memory.bucketMebibytes() + " is not in 1 to 4096");
    require(
        !memory.offload() || run.mesh() == null || run.mesh().pipeline() > 1,
        "memory.offload: no activation waits without a pipeline; leave it out, or use more stages");
  }

  private void compute() {
    RunConfig.Compute compute = run.compute();
    if (compute.backend() == null || compute.precision() == null) {
      found.add("compute: expected a backend (cpu or cuda) and a precision (fp32 or bf16)");
    } else {
      require(
          compute.backend() == RunConfig.Compute.Backend.cuda
              || compute.precision() == RunConfig.Compute.Precision.fp32,
          "compute.precision: bf16 needs backend cuda; the CPU computes in fp32");
    }
  }

  private void optimizer() {
    RunConfig.Optimizer optimizer = run.optimizer();
    if (optimizer == null
        || optimizer.kind() == null
        || optimizer.muon() == null
        || optimizer.adamW() == null
        || optimizer.qkClip() == null) {
      found.add("optimizer: missing, or without kind, muon, adamW or qkClip");
      return;
    }
    notNegative("optimizer.weightDecay", optimizer.weightDecay());
    notNegative("optimizer.gradientClip", optimizer.gradientClip());
    notNegative("optimizer.routerBiasRate", optimizer.routerBiasRate());
    unit("optimizer.muon.momentum", optimizer.muon().momentum());
    int iterations = optimizer.muon().newtonSchulzSteps();
    require(
        iterations >= 1 && iterations <= 100,
        "optimizer.muon.newtonSchulzSteps: " + iterations + " is not in 1 to 100");
    List<Double> abc = optimizer.muon().newtonSchulzCoefficients();
    require(
        abc != null && abc.size() == 3,
        "optimizer.muon.newtonSchulzCoefficients: expected three numbers (a, b, c)");
    positive("optimizer.muon.updateRms", optimizer.muon().updateRms());
    unit("optimizer.adamW.beta1", optimizer.adamW().beta1());
    unit("optimizer.adamW.beta2", optimizer.adamW().beta2());
    positive("optimizer.adamW.epsilon", optimizer.adamW().epsilon());
    positive("optimizer.qkClip.threshold", optimizer.qkClip().threshold());
    double balance = optimizer.qkClip().balance();
    require(
        balance >= 0 && balance <= 1, "optimizer.qkClip.balance: " + balance + " is not in [0, 1]");
  }

  private void schedule() {
    RunConfig.Schedule schedule = run.schedule();
    if (schedule == null) {
      found.add("schedule: missing");
      return;
    }
    positive("schedule.peakLearningRate", schedule.peakLearningRate());
    notNegative("schedule.finalLearningRate", schedule.finalLearningRate());
    require(schedule.warmupSteps() >= 0, "schedule.warmupSteps: is negative");
    require(schedule.decaySteps() >= 0, "schedule.decaySteps: is negative");
    require(
        schedule.warmupSteps() <= run.steps()
            && schedule.decaySteps() <= run.steps() - schedule.warmupSteps(),
        "schedule: warmupSteps "
            + schedule.warmupSteps()
            + " + decaySteps "
            + schedule.decaySteps()
            + " is more than steps "
            + run.steps());
  }

  private void checkpoint() {
    RunConfig.Checkpoint checkpoint = run.checkpoint();
    if (checkpoint == null) {
      found.add("checkpoint: missing");
      return;
    }
    require(
        checkpoint.directory() != null && !checkpoint.directory().isBlank(),
        "checkpoint.directory: missing");
    require(
        checkpoint.intervalSteps() >= 1,
        "checkpoint.intervalSteps: " + checkpoint.intervalSteps() + " is less than 1");
    require(checkpoint.keep() >= 1, "checkpoint.keep: " + checkpoint.keep() + " is less than 1");
  }

  private void evaluation() {
    RunConfig.Evaluation evaluation = run.evaluation();
    if (evaluation != null) {
      require(evaluation.intervalSteps() >= 0, "evaluation.intervalSteps: is negative");
      require(evaluation.problems() >= 0, "evaluation.problems: is negative");
      require(
          evaluation.heldOutFraction() >= 0 && evaluation.heldOutFraction() < 1,
          "evaluation.heldOutFraction: "
              + evaluation.heldOutFraction()
              + " is not in [0, 1); 0.1 holds out one document in ten");
    }
  }

  private void trace() {
    if (run.trace() != null) {
      long step = run.trace().step();
      require(
          step >= 1 && step <= run.steps(),
          "trace.step: %d is not one of the %d steps; expected 1 to %d"
              .formatted(step, run.steps(), run.steps()));
    }
  }

  private void network() {
    RunConfig.Network network = run.network();
    if (network == null) {
      found.add("network: missing");
      return;
    }
    port("network.httpPort", network.httpPort());
    port("network.peerPort", network.peerPort());
    require(
        network.httpPort() != network.peerPort(),
        "network.peerPort: " + network.peerPort() + " is the httpPort too; use another");
    require(network.rendezvousSeconds() >= 1, "network.rendezvousSeconds: less than 1");
    require(network.peerSeconds() >= 1, "network.peerSeconds: less than 1");
  }

  private void require(boolean holds, String problem) {
    if (!holds) {
      found.add(problem);
    }
  }

  private void positive(String field, double value) {
    require(value > 0 && Double.isFinite(value), field + ": " + value + " is not positive");
  }

  private void notNegative(String field, double value) {
    require(value >= 0 && Double.isFinite(value), field + ": " + value + " is negative");
  }

  private void unit(String field, double value) {
    require(value >= 0 && value < 1, field + ": " + value + " is not in [0, 1)");
  }

  private void port(String field, int value) {
    require(value >= 1 && value <= 65535, field + ": " + value + " is not a port (1 to 65535)");
  }
}
