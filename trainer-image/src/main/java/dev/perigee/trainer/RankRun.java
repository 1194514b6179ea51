package dev.perigee.trainer;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.checkpoint.CheckpointStore;
import dev.perigee.engine.checkpoint.CheckpointStore.Durable;
import dev.perigee.engine.checkpoint.Contribution;
import dev.perigee.engine.checkpoint.CorruptCheckpointsException;
import dev.perigee.engine.checkpoint.HfConfig;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.checkpoint.StorageException;
import dev.perigee.engine.checkpoint.TrainerState;
import dev.perigee.engine.data.Sequence;
import dev.perigee.engine.data.TrainingData;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.model.StagePlace;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.engine.train.StepRecorder;
import dev.perigee.engine.train.StepReport;
import dev.perigee.engine.train.TrackRecorder;
import dev.perigee.engine.train.TrainStep;
import dev.perigee.plan.StepPlan;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import dev.perigee.run.RunStatus.Phase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Optional;
import java.util.SequencedMap;

/** The run as one rank lives it: weights, steps, checkpoints, scores. */
final class RankRun {
  private final Launch launch;
  private final RunConfig config;
  private final ModelConfig shape;
  private final TrainingData data;
  private final CheckpointStore store;
  private final Pod pod;
  private final int rank;
  private final boolean speaks;
  private final Fabric.Groups groups;
  private final Collectives world;

  private final Model model;
  private final Backend backend;

  /** Tokens trained on over the whole job. */
  private long tokens;

  /** Added to a sequence's number by step; not 0 when the batch has had another size before. */
  private long sequenceShift;

  private History history;

  /**
   * One rank of a pod.
   *
   * @param shape of the model
   * @param pod what the ranks of this pod share
   */
  RankRun(
      Launch launch,
      ModelConfig shape,
      TrainingData data,
      CheckpointStore store,
      Pod pod,
      Fabric fabric,
      int rank) {
    this.launch = launch;
    this.config = launch.config();
    this.shape = shape;
    this.data = data;
    this.store = store;
    this.pod = pod;
    this.rank = rank;
    this.speaks = rank == fabric.ranks().getFirst();
    this.backend = pod.accelerator().open(fabric.ranks().indexOf(rank));
    this.groups =
        pod.accelerator().reaching(fabric, fabric.groups(config.mesh(), rank), backend, this::log);
    this.world = groups.world();
    this.model =
        Model.create(
            shape,
            backend,
            groups.expert(),
            new StagePlace(StepPlan.of(config, shape).layout(), groups.pipeline()),
            config.memory());
  }

  /** From the first weights, or the newest checkpoint, to the last score. */
  ExitCode run()
      throws IOException, StorageException, CorruptCheckpointsException, TrainerException {
    Optional<Durable> resumed = newestCheckpoint();
    loadWeights(resumed);
    Optimizer optimizer =
        new Optimizer(
            config.optimizer(), model.parameters(), backend, groups, config.memory().bucketBytes());
    long done = 0;
    if (resumed.isPresent()) {
      TrainerState state = resumed.get().state();
      resumed.get().readOptimizer(optimizer.state());
      done = state.step();
      tokens = state.tokens();
      sequenceShift = state.nextSequence() - done * config.batchSequences();
      tellResumed(resumed.get());
    }
    world.barrier();
    Path directory = launch.resolve(config.checkpoint().directory());
    try (History opened = rank == 0 ? History.open(directory, done) : null) {
      history = opened;
      return train(optimizer, done);
    }
  }

  private ExitCode train(Optimizer optimizer, long done) throws IOException, StorageException {
    TrainStep trainStep = new TrainStep(config, model, optimizer, groups);
    Evaluator evaluator = new Evaluator(config, data, model, groups);
    RunConfig.Evaluation evaluation = config.evaluation();
    enter(Phase.Training);
    for (long step = done + 1; step <= config.steps(); step++) {
      boolean traced = config.trace() != null && config.trace().step() == step;
      TrackRecorder recorder = traced ? new TrackRecorder() : null;
      StepReport report = trainStep.run(step, this::read, traced ? recorder : StepRecorder.NONE);
      tokens += report.tokens();
      tell(report);
      if (traced) {
        trace(step, recorder);
      }
      boolean last = step == config.steps();
      Requests.Agreed agreed = pod.requests().agree(world, speaks);
      if (last
          || agreed.stop()
          || agreed.checkpoint()
          || step % config.checkpoint().intervalSteps() == 0) {
        save(step, optimizer);
      }
      if (agreed.stop() && !last) {
        log("stopped after step " + step + ", as asked");
        return ExitCode.STOPPED;
      }
      if (!last
          && evaluation != null
          && evaluation.intervalSteps() > 0
          && step % evaluation.intervalSteps() == 0) {
        evaluate(evaluator, step);
        enter(Phase.Training);
      }
    }
    if (evaluation != null) {
      evaluate(evaluator, config.steps());
    }
    enter(Phase.Done);
    if (rank == 0) {
      history.summarise(pod.progress().status());
    }
    return ExitCode.DONE;
  }

  private Optional<Durable> newestCheckpoint()
      throws IOException, StorageException, CorruptCheckpointsException, TrainerException {
    if (rank == 0) {
      store.prepare("start %d of %s".formatted(launch.ranks().generation(), config.job()));
    }
    Optional<Durable> found = store.latestDurable(world);
    if (found.isPresent() && found.get().state().step() > config.steps()) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "steps: "
              + config.steps()
              + " are fewer than the "
              + found.get().state().step()
              + " that "
              + found.get().folder()
              + " has done; ask for more steps or use another checkpoint directory");
    }
    return found;
  }

  private void loadWeights(Optional<Durable> resumed)
      throws IOException, StorageException, TrainerException {
    if (resumed.isPresent()) {
      model.load(resumed.get().weights());
    } else if (config.model().from() != null) {
      Path from = launch.resolve(config.model().from());
      checkSource(from);
      model.load(open(from));
      log("weights from " + from);
    } else {
      model.initialize(config.seed());
    }
  }

  private static Safetensors open(Path folder) throws IOException, TrainerException {
    try {
      return Safetensors.open(folder);
    } catch (NoSuchFileException e) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "model.from: "
              + folder
              + " holds neither "
              + Safetensors.SINGLE
              + " nor "
              + Safetensors.INDEX
              + "; expected a folder in Hugging Face layout",
          e);
    }
  }

  /** The folder that the first weights come from is there, and is the one that was meant. */
  private void checkSource(Path folder) throws StorageException, TrainerException {
    if (!Files.exists(folder)) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "model.from: there is no " + folder + "; expected a folder in Hugging Face layout");
    }
    String expected = config.model().digest();
    if (expected == null) {
      return;
    }
    String digest = CheckpointStore.digest(folder);
    if (!digest.equals(expected)) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "model.digest: "
              + folder
              + " has the manifest "
              + digest
              + "; expected "
              + expected
              + ", so the folder was written anew since the job was resolved to it");
    }
  }

  private void tellResumed(Durable durable) throws IOException, StorageException {
    TrainerState state = durable.state();
    if (speaks) {
      pod.progress().resumed(state.step(), state.tokens());
      pod.progress().found(state.step(), durable.folder().toString(), durable.digest());
      pod.metrics().resumed(state.step());
      pod.metrics().durable(state.step());
    }
    log("resuming after step " + state.step() + " from " + durable.folder());
    if (rank == 0) {
      durable.changes(state(0), hfConfig()).forEach(change -> log("warning: " + change));
    }
  }

  private void read(long number, int[] ids, int[] targets, int at) {
    Sequence sequence = data.sequence(number + sequenceShift);
    System.arraycopy(sequence.ids(), 0, ids, at, sequence.ids().length);
    System.arraycopy(sequence.targets(), 0, targets, at, sequence.targets().length);
  }

  private void save(long step, Optimizer optimizer) throws StorageException {
    enter(Phase.Saving);
    long started = System.nanoTime();
    Path folder = store.save(contribution(optimizer), state(step), hfConfig(), world);
    double seconds = (System.nanoTime() - started) / 1e9;
    if (speaks) {
      pod.progress().saved(step, folder.toString(), CheckpointStore.digest(folder), seconds);
      pod.metrics().saved(step, seconds);
    }
    log("checkpoint %s (%.1f s)".formatted(folder, seconds));
    enter(Phase.Training);
  }

  private TrainerState state(long step) {
    return new TrainerState(
        step,
        tokens,
        step * config.batchSequences() + sequenceShift,
        config.seed(),
        config.sequenceLength(),
        config.batchTokens(),
        config.mesh(),
        data.composition());
  }

  private HfConfig hfConfig() {
    return new HfConfig(shape, data.tokenizer().begin(), data.tokenizer().end());
  }

  /**
   * Of each stage, the first rank has the dense weights, the first expert group its experts; every
   * rank has its own optimizer state.
   */
  private Contribution contribution(Optimizer optimizer) {
    Mesh mesh = config.mesh();
    Mesh.Coordinates at = mesh.coordinates(rank);
    boolean first = mesh.dataIndex(rank) == 0;
    SequencedMap<String, Tensor> weights = new LinkedHashMap<>();
    for (Parameter parameter : model.parameters()) {
      boolean dense = parameter.sharing() == Parameter.Sharing.DENSE;
      if (dense ? first : at.replica() == 0) {
        weights.put(parameter.name(), parameter.value());
      }
    }
    if (first) {
      weights.putAll(model.buffers());
    }
    return new Contribution(
        weights,
        at.stage() * mesh.expert() + at.expertIndex(),
        mesh.pipeline() * mesh.expert(),
        optimizer.state());
  }

  private void trace(long step, TrackRecorder recorder) throws IOException {
    Path directory = launch.resolve(config.checkpoint().directory());
    StepTrace trace = new StepTrace(directory, step, rank, world);
    trace.write(recorder);
    log("timeline of step " + step + ": " + trace.file());
  }

  private void evaluate(Evaluator evaluator, long step) {
    enter(Phase.Evaluating);
    long started = System.nanoTime();
    RunStatus.Evaluation result = evaluator.evaluate(step);
    if (speaks) {
      pod.progress().evaluated(result);
      pod.metrics().evaluated(result);
    }
    StringBuilder line = new StringBuilder("evaluation after step " + step + ":");
    if (result.bitsPerByte() != null) {
      line.append(
          " %.3f bits per byte on %d held-out texts"
              .formatted(result.bitsPerByte(), data.heldOutTexts().size()));
    }
    if (result.exact() != null) {
      line.append(
          " %.1f %% of %d held-out problems exact"
              .formatted(100 * result.exact(), result.problems()));
    }
    log(line + " (%.1f s)".formatted((System.nanoTime() - started) / 1e9));
    if (!result.sample().isBlank()) {
      log("sample:\n" + result.sample().indent(2).stripTrailing());
    }
  }

  private void tell(StepReport report) throws IOException, StorageException {
    if (speaks) {
      pod.progress().stepped(report);
      pod.metrics().stepped(report, pod.progress().tokensPerSecond());
    }
    if (rank == 0) {
      history.append(report, pod.progress().tokensPerSecond());
      pod.log().step(report, config.steps(), pod.progress().tokensPerSecond());
    }
  }

  private void enter(Phase phase) {
    if (speaks) {
      pod.progress().enter(phase);
      pod.metrics().enter(phase);
    }
  }

  private void log(String line) {
    if (rank == 0) {
      pod.log().line(line);
    }
  }
}
