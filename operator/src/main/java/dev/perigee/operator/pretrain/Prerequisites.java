package dev.perigee.operator.pretrain;

import dev.perigee.api.ArtifactSource;
import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.ObservedGang;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * What has to be so before a job can begin, and is decided by other jobs: nothing is left of an
 * earlier one of its name, its output folder is its own, and the job that it continues from is
 * complete. A pure function of the jobs; one that runs is never held up.
 */
sealed interface Prerequisites {
  /** Nothing is in the way. */
  record Met() implements Prerequisites {}

  /** The source is there now, and is to be remembered before anything is done with it. */
  record Resolved(PretrainJobStatus.Source source) implements Prerequisites {}

  /**
   * The job holds no pods until this changes.
   *
   * @param stalled whether nothing will change until somebody does something
   */
  record Held(ConditionReason reason, String message, boolean stalled) implements Prerequisites {}

  /** Looks at the other jobs. */
  static Prerequisites of(PretrainJob job, ObservedGang observed, Neighbours neighbours) {
    PretrainJobStatus status = Objects.requireNonNullElse(job.getStatus(), PretrainJobStatus.EMPTY);
    boolean ended = status.holds(ConditionType.Complete) || status.holds(ConditionType.Failed);
    if (ended || !observed.pods().isEmpty()) {
      return new Met();
    }
    if (!observed.leftovers().isEmpty()) {
      return new Held(
          ConditionReason.Starting,
          "Waits until what is left of an earlier job of this name is deleted: "
              + some(observed.leftovers())
              + ".",
          false);
    }
    Optional<PretrainJob> owner = OutputPath.taken(job, neighbours);
    if (owner.isPresent()) {
      return new Held(
          ConditionReason.OutputPathTaken,
          "checkpoints: "
              + RunConfigs.checkpointPath(job)
              + " on this volume is the folder of "
              + owner.get().getMetadata().getName()
              + ", which is older; create this job with another checkpoints.path, or delete that"
              + " one",
          true);
    }
    ArtifactSource from = job.getSpec().model().from();
    if (from == null || status.source() != null) {
      return new Met();
    }
    Prerequisites source = source(job, from.pretrainJob(), neighbours);
    boolean waits = source instanceof Held held && !held.stalled();
    return waits && job.getSpec().suspend()
        ? new Held(ConditionReason.Suspended, "Suspended; its source is not looked at.", false)
        : source;
  }

  /** The first few: a gang may have had a thousand pods. */
  private static String some(List<String> names) {
    int few = 10;
    return names.stream().limit(few).collect(Collectors.joining(", "))
        + (names.size() > few ? " and " + (names.size() - few) + " more" : "");
  }

  private static Prerequisites source(PretrainJob job, String name, Neighbours neighbours) {
    Optional<List<String>> circle = circle(job, neighbours);
    if (circle.isPresent()) {
      return new Held(
          ConditionReason.SourceCircle,
          "model.from: "
              + String.join(" continues from ", circle.get())
              + "; one of them has to begin with other weights",
          true);
    }
    Optional<PretrainJob> found = neighbours.named(name);
    if (found.isEmpty()) {
      return new Held(
          ConditionReason.SourceMissing,
          "model.from: there is no PretrainJob "
              + name
              + " in this namespace; create it, or create this job with another name here",
          true);
    }
    PretrainJobStatus status =
        Objects.requireNonNullElse(found.get().getStatus(), PretrainJobStatus.EMPTY);
    PretrainJobStatus.CheckpointReference last = status.lastDurableCheckpoint();
    if (status.holds(ConditionType.Complete) && last != null && JobRecord.isWhole(last)) {
      return new Resolved(new PretrainJobStatus.Source(name, last));
    }
    if (status.holds(ConditionType.Failed)) {
      return new Held(
          ConditionReason.SourceFailed,
          "model.from: "
              + name
              + " failed; delete it and let it run again, or continue from its last checkpoint with"
              + " model.checkpoint",
          true);
    }
    return new Held(
        ConditionReason.WaitingForSource, "Waits until " + name + " is complete.", false);
  }

  /** The names from a job back to itself, when it continues from itself. */
  private static Optional<List<String>> circle(PretrainJob job, Neighbours neighbours) {
    String self = job.getMetadata().getName();
    List<String> names = new ArrayList<>(List.of(self));
    Optional<PretrainJob> at = Optional.of(job);
    while (at.isPresent()) {
      Optional<String> next =
          Optional.ofNullable(at.get().getSpec().model().from()).map(ArtifactSource::pretrainJob);
      if (next.isEmpty() || (names.contains(next.get()) && !next.get().equals(self))) {
        return Optional.empty(); // the end, or a circle that others are in
      }
      names.add(next.get());
      if (next.get().equals(self)) {
        return Optional.of(names);
      }
      at = neighbours.named(next.get());
    }
    return Optional.empty();
  }
}
