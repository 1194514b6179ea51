package dev.perigee.engine.bench;

import dev.perigee.engine.checkpoint.CheckpointStore;
import dev.perigee.engine.checkpoint.CheckpointStore.Durable;
import dev.perigee.engine.checkpoint.Contribution;
import dev.perigee.engine.checkpoint.HfConfig;
import dev.perigee.engine.checkpoint.TrainerState;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.model.StagePlace;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.engine.train.StepRecorder;
import dev.perigee.engine.train.StepReport;
import dev.perigee.engine.train.TrackRecorder;
import dev.perigee.engine.train.TrainStep;
import dev.perigee.plan.StepPlan;
import dev.perigee.plan.Timeline;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.SplittableRandom;

/** Steps of training as one rank of a gang takes them, from and to checkpoints. */
final class SliceTraining {
  private final GangWork work;
  private final GangRank self;
  private final RunConfig config;
  private final Model model;
  private final Optimizer optimizer;

  SliceTraining(GangWork work, GangRank self) {
    this.work = work;
    this.self = self;
    this.config = work.shape().run(work.mesh(), work.overlap());
    this.model =
        Model.create(
            work.shape().model(),
            self.backend(),
            self.groups().expert(),
            new StagePlace(
                StepPlan.of(config, work.shape().model()).layout(), self.groups().pipeline()),
            config.memory());
    this.optimizer =
        new Optimizer(
            config.optimizer(),
            model.parameters(),
            self.backend(),
            self.groups(),
            config.memory().bucketBytes());
  }

  GangWork.Done run() throws Exception {
    if (work.from() == null) {
      model.initialize(config.seed());
    } else {
      Durable durable = store(work.from()).latestDurable().orElseThrow();
      model.load(durable.weights());
      durable.readOptimizer(optimizer.state());
    }
    self.groups().world().barrier();
    TrainStep step = new TrainStep(config, model, optimizer, self.groups());
    TrackRecorder recorder = new TrackRecorder();
    List<Double> losses = new ArrayList<>();
    List<Double> seconds = new ArrayList<>();
    double saved = 0;
    for (long s = work.first(); s <= work.last(); s++) {
      StepReport report =
          step.run(s, this::pattern, s == work.last() ? recorder : StepRecorder.NONE);
      losses.add(report.loss());
      seconds.add(report.seconds());
      if (work.to() != null && s == work.shape().steps()) {
        saved = save(s);
      }
    }
    Timeline.Track track = recorder.track("rank " + self.rank(), 0);
    return new GangWork.Done(self.way(), List.of(), losses, seconds, track, saved);
  }

  private static CheckpointStore store(String folder) {
    return new CheckpointStore(Path.of(folder), 1, warning -> {});
  }

  private double save(long step) throws Exception {
    long start = System.nanoTime();
    Mesh mesh = work.mesh();
    Mesh.Coordinates at = mesh.coordinates(self.rank());
    boolean first = mesh.dataIndex(self.rank()) == 0;
    SequencedMap<String, Tensor> weights = new LinkedHashMap<>();
    for (Parameter p : model.parameters()) {
      boolean dense = p.sharing() == Parameter.Sharing.DENSE;
      if (dense ? first : at.replica() == 0) {
        weights.put(p.name(), p.value());
      }
    }
    if (first) {
      weights.putAll(model.buffers());
    }
    store(work.to())
        .save(
            new Contribution(
                weights,
                at.stage() * mesh.expert() + at.expertIndex(),
                mesh.pipeline() * mesh.expert(),
                optimizer.state()),
            new TrainerState(
                step,
                step * config.batchTokens(),
                step * config.batchSequences(),
                config.seed(),
                config.sequenceLength(),
                config.batchTokens(),
                mesh,
                null),
            new HfConfig(work.shape().model(), 0, 1),
            self.groups().world());
    return (System.nanoTime() - start) / 1e9;
  }

  /** A run of tokens that repeats after a few: easy to learn, hard to guess. */
  private void pattern(long number, int[] ids, int[] targets, int at) {
    SplittableRandom random = new SplittableRandom(number);
    int period = 2 + random.nextInt(5);
    int[] motif = random.ints(period, 0, model.config().vocabSize()).toArray();
    for (int i = 0; i < config.sequenceLength(); i++) {
      ids[at + i] = motif[i % period];
      targets[at + i] = i + 1 < period ? -1 : motif[(i + 1) % period];
    }
  }
}
