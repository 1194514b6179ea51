package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.api.VolumeSource;
import java.util.ArrayDeque;
import java.util.Comparator;
import java.util.Deque;
import java.util.Objects;
import java.util.Optional;

/** Where a job writes its checkpoints. One folder belongs to one job. */
final class OutputPath {
  private OutputPath() {}

  /** A key that two jobs of one namespace share exactly if they write to the same folder. */
  static String of(PretrainJob job) {
    VolumeSource volume = job.getSpec().checkpoints().volume();
    String path = RunConfigs.checkpointPath(job);
    if (volume.persistentVolumeClaim() != null) {
      return "claim " + volume.persistentVolumeClaim().claimName() + "/" + normal(path);
    }
    // A definition that is newer than this operator may have volumes of another kind.
    return volume.hostPath() == null
        ? "job " + job.getMetadata().getName()
        : "node /" + normal(volume.hostPath().path() + "/" + path);
  }

  /**
   * The path as names between single slashes. As text, because a Path is refused where this machine
   * could have no such file, and a job that has no key keeps all jobs from being looked up.
   */
  private static String normal(String path) {
    Deque<String> names = new ArrayDeque<>();
    for (String name : path.split("/", -1)) {
      if (name.equals("..")) {
        names.pollLast();
      } else if (!name.isEmpty() && !name.equals(".")) {
        names.addLast(name);
      }
    }
    return String.join("/", names);
  }

  /** The job that the folder belongs to in place of this one: the oldest. */
  static Optional<PretrainJob> taken(PretrainJob job, Neighbours neighbours) {
    return neighbours.writingTo(of(job)).stream()
        .min(
            Comparator.comparing(
                    (PretrainJob j) ->
                        Objects.requireNonNullElse(j.getMetadata().getCreationTimestamp(), ""))
                .thenComparing(j -> j.getMetadata().getName()))
        .filter(owner -> !owner.getMetadata().getName().equals(job.getMetadata().getName()));
  }
}
