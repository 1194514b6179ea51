package dev.perigee.operator.pretrain;

import dev.perigee.api.DataSource;
import dev.perigee.api.EvaluationSpec;
import dev.perigee.api.FailurePolicy;
import dev.perigee.api.MemorySpec;
import dev.perigee.api.ModelSpec;
import dev.perigee.api.OptimizerSpec;
import dev.perigee.api.Parallelism;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobSpec;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/** A job's specification in the words of the contract. */
final class RunConfigs {
  private RunConfigs() {}

  /**
   * The run configuration of a job.
   *
   * @param problems gets what cannot be said in a run configuration
   */
  static RunConfig of(PretrainJob job, List<String> problems) {
    PretrainJobSpec spec = job.getSpec();
    ModelConfig shape = shape(spec.model(), problems);
    if (shape != null && spec.sequenceLength() > shape.maxPositionEmbeddings()) {
      problems.add(
          "sequenceLength: "
              + spec.sequenceLength()
              + " is more than the model's longest context "
              + shape.maxPositionEmbeddings());
    }
    return new RunConfig(
        job.getMetadata().getNamespace() + "/" + job.getMetadata().getName(),
        spec.seed(),
        new RunConfig.Model(
            shape,
            firstWeights(job)
                .map(weights -> RunFiles.MODEL_FOLDER + "/" + weights.path())
                .orElse(null),
            source(job).map(PretrainJobStatus.CheckpointReference::digest).orElse(null)),
        spec.data().stream().map(RunConfigs::source).toList(),
        new RunConfig.Tokenizer(
            spec.tokenizer().kind(),
            spec.tokenizer().path() == null
                ? null
                : RunFiles.TOKENIZER_FOLDER + "/" + spec.tokenizer().path()),
        spec.sequenceLength(),
        spec.batchTokens(),
        new Mesh(
            spec.parallelism().pipeline(),
            spec.parallelism().data(),
            spec.parallelism().expert(),
            spec.parallelism().ranksPerPod()),
        optimizer(spec.optimizer()),
        new RunConfig.Schedule(
            spec.schedule().peakLearningRate(),
            spec.schedule().warmupSteps(),
            spec.schedule().decaySteps(),
            spec.schedule().finalLearningRate()),
        spec.totalSteps(),
        new RunConfig.Checkpoint(
            RunFiles.CHECKPOINTS_FOLDER + "/" + checkpointPath(job),
            spec.checkpoints().intervalSteps(),
            spec.checkpoints().keep()),
        evaluation(spec.evaluation()),
        network(spec.failurePolicy().deadlines()),
        pipeline(spec.parallelism()),
        memory(spec.memory()),
        spec.compute().toCompute(),
        spec.trace() == null ? null : new RunConfig.Trace(spec.trace().step()));
  }

  private static RunConfig.Pipeline pipeline(Parallelism parallelism) {
    return new RunConfig.Pipeline(
        parallelism.virtualStages(),
        parallelism.microBatchSequences(),
        parallelism.expertOverlap(),
        parallelism.splitWeightGradient(),
        parallelism.layout());
  }

  private static RunConfig.Memory memory(MemorySpec memory) {
    return new RunConfig.Memory(
        Set.copyOf(memory.recompute()),
        Set.copyOf(memory.fp8()),
        memory.offload(),
        memory.bucketMebibytes());
  }

  /**
   * The program waits for its peers as long as those may take to come. The operator ends a start
   * whose pods are up but do not meet, and knows which.
   */
  private static RunConfig.Network network(FailurePolicy.Deadlines deadlines) {
    RunConfig.Network usual = RunConfig.Network.DEFAULT;
    long patience =
        Stream.of(
                deadlines.admissionSeconds(),
                deadlines.schedulingSeconds(),
                deadlines.imagePullSeconds(),
                deadlines.rendezvousSeconds())
            .filter(Objects::nonNull)
            .mapToLong(Integer::longValue)
            .sum();
    return new RunConfig.Network(
        usual.httpPort(),
        usual.peerPort(),
        Math.clamp(patience, usual.rendezvousSeconds(), Integer.MAX_VALUE),
        usual.peerSeconds());
  }

  /** The checkpoint that the first weights come from: named by its folder or by its job. */
  static Optional<ModelSpec.CheckpointSource> firstWeights(PretrainJob job) {
    return source(job)
        .map(found -> new ModelSpec.CheckpointSource(found.volume(), found.path()))
        .or(() -> Optional.ofNullable(job.getSpec().model().checkpoint()));
  }

  private static Optional<PretrainJobStatus.CheckpointReference> source(PretrainJob job) {
    return job.getSpec().model().from() == null
        ? Optional.empty()
        : Optional.ofNullable(job.getStatus())
            .map(PretrainJobStatus::source)
            .map(PretrainJobStatus.Source::checkpoint);
  }

  /** The job's folder on its checkpoint volume. */
  static String checkpointPath(PretrainJob job) {
    return Objects.requireNonNullElse(
        job.getSpec().checkpoints().path(), job.getMetadata().getName());
  }

  private static ModelConfig shape(ModelSpec model, List<String> problems) {
    if (model.config() != null) {
      return model.config().toConfig();
    }
    if (model.preset() == null) {
      return null;
    }
    Optional<ModelConfig> preset = ModelPresets.find(model.preset());
    if (preset.isEmpty()) {
      problems.add(
          "model.preset: "
              + model.preset()
              + " is not known; use one of "
              + String.join(", ", ModelPresets.all().keySet()));
    }
    return preset.orElse(null);
  }

  private static RunConfig.DataSource source(DataSource source) {
    return new RunConfig.DataSource(
        source.name(),
        source.weight() == null ? 1 : source.weight(),
        source.builtin() == null ? null : source.builtin().name(),
        source.volume() == null
            ? null
            : RunFiles.DATA_FOLDER + "/" + source.name() + "/" + source.path());
  }

  private static RunConfig.Optimizer optimizer(OptimizerSpec o) {
    return new RunConfig.Optimizer(
        o.kind(),
        o.weightDecay(),
        o.gradientClip(),
        new RunConfig.Optimizer.Muon(
            o.muon().momentum(),
            o.muon().nesterov(),
            o.muon().newtonSchulzSteps(),
            o.muon().newtonSchulzCoefficients(),
            o.muon().updateRms()),
        new RunConfig.Optimizer.AdamW(o.adamW().beta1(), o.adamW().beta2(), o.adamW().epsilon()),
        new RunConfig.Optimizer.QkClip(o.qkClip().threshold(), o.qkClip().balance()),
        o.routerBiasRate());
  }

  private static RunConfig.Evaluation evaluation(EvaluationSpec e) {
    return e == null
        ? null
        : new RunConfig.Evaluation(e.intervalSteps(), e.problems(), e.heldOutFraction());
  }
}
