package dev.perigee.trainer;

import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.train.TrackRecorder;
import dev.perigee.plan.ChromeTrace;
import dev.perigee.plan.Timeline;
import dev.perigee.plan.Timeline.Track;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes what every rank did in one step as one timeline, {@code traces/step-NNNNNNNN.json} beside
 * the checkpoints. Each rank writes its own track, since only the volume is common to all pods; the
 * first rank puts them together. Times are those of the pods' wall clocks, so that the tracks of
 * different nodes are as far off each other as these are.
 */
final class StepTrace {
  private final Path folder;
  private final long step;
  private final int rank;
  private final Collectives world;

  /**
   * The trace of a step.
   *
   * @param directory of the checkpoints, which exists and is the same for all ranks
   */
  StepTrace(Path directory, long step, int rank, Collectives world) {
    this.folder = directory.resolve("traces");
    this.step = step;
    this.rank = rank;
    this.world = world;
  }

  /** The file that it is in at the end. */
  Path file() {
    return folder.resolve("step-%08d.json".formatted(step));
  }

  /** Writes it; all ranks call this together. */
  void write(TrackRecorder recorder) throws IOException {
    Files.createDirectories(folder);
    Track track = recorder.track("rank " + rank, origin());
    ChromeTrace.write(new Timeline(List.of(track)), part(rank));
    world.barrier();
    if (rank == 0) {
      List<Track> tracks = new ArrayList<>();
      for (int r = 0; r < world.size(); r++) {
        tracks.addAll(ChromeTrace.read(part(r)).tracks());
      }
      Path fresh = folder.resolve(file().getFileName() + ".partial");
      ChromeTrace.write(new Timeline(tracks).fromZero(), fresh);
      Files.move(fresh, file(), StandardCopyOption.ATOMIC_MOVE);
      for (int r = 0; r < world.size(); r++) {
        Files.delete(part(r));
      }
    }
  }

  private Path part(int ofRank) {
    return folder.resolve("step-%08d.rank-%d.partial".formatted(step, ofRank));
  }

  /** This pod's {@link System#nanoTime} at a moment that all ranks have agreed on: about now. */
  private long origin() {
    Instant now = Instant.now();
    long nanoTime = System.nanoTime();
    long microseconds = now.getEpochSecond() * 1_000_000 + now.getNano() / 1000;
    double[] agreed = {rank == 0 ? microseconds : 0}; // exact below 2^53
    world.allReduceSum(agreed);
    return nanoTime - (microseconds - Math.round(agreed[0])) * 1000;
  }
}
