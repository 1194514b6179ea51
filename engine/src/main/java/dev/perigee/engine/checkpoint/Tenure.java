package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.UUID;

/**
 * The right of one run to write to a directory of checkpoints. Two runs of a job overlap when the
 * first is believed dead and is not, for example on a node that nobody hears of. So each run leaves
 * its mark when it begins, and looks whether it is still there before it changes anything: the
 * newest run goes on, an older one finds that out (a fencing token, kept where it is needed).
 */
final class Tenure {
  /** The mark, beside the checkpoints. */
  static final String FILE = "writer.json";

  private final Path file;
  private final Mark mine;

  private Tenure(Path file, Mark mine) {
    this.file = file;
    this.mine = mine;
  }

  /**
   * What is written down.
   *
   * @param writer who writes, for people
   * @param since RFC 3339 time when it began
   * @param token no other run's
   */
  record Mark(String writer, String since, String token) {}

  /** Takes the directory over from whoever wrote to it. */
  static Tenure begin(Path directory, String writer, CheckpointFiles files) throws IOException {
    Mark mark =
        new Mark(
            writer,
            Instant.now().truncatedTo(ChronoUnit.SECONDS).toString(),
            UUID.randomUUID().toString());
    Path file = directory.resolve(FILE);
    Path fresh = directory.resolve(FILE + ".partial");
    try (OutputStream out = files.create(fresh)) {
      out.write(TrainerFiles.JSON.writeValueAsBytes(mark));
    }
    files.sync(fresh);
    files.rename(fresh, file);
    return new Tenure(file, mark);
  }

  /**
   * Returns when no other run has begun since. A mark that somebody removed is nobody's.
   *
   * @throws SupersededException when another has
   */
  void requireMine() throws IOException, SupersededException {
    byte[] there;
    try {
      there = Files.readAllBytes(file); // opened anew, so that network file systems ask the server
    } catch (NoSuchFileException e) {
      return;
    }
    Mark mark;
    try {
      mark = TrainerFiles.JSON.readValue(there, Mark.class);
    } catch (JsonProcessingException e) {
      throw new SupersededException(file + " is not what this run wrote: somebody changed it");
    }
    if (!mine.equals(mark)) {
      throw new SupersededException(
          "%s: %s writes here since %s; this is %s, which saves nothing more. If both are meant to run, give each a directory of its own"
              .formatted(file, mark.writer(), mark.since(), mine.writer()));
    }
  }
}
