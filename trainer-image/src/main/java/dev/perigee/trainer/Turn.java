package dev.perigee.trainer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.checkpoint.WholeFile;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunFiles;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Which start of its gang this program takes part in, and in which place. A container that was
 * started again in its place still has the rank map of the start that is over; it waits for that of
 * the next, which the operator publishes where addresses are published too. So does a spare, whose
 * first place may be any.
 */
final class Turn {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final long POLL_MILLIS = 500;

  private final Path state;
  private final Path published;

  /**
   * A turn.
   *
   * @param root the program's root
   */
  Turn(Path root) {
    this.state = root.resolve(RunFiles.STATE_FOLDER);
    this.published = root.resolve(RunFiles.PEERS_FOLDER).resolve(RunFiles.RANK_MAP);
  }

  /**
   * The start that is now to come, and this pod's place in it; waits when the given one is over, or
   * has no place for this pod.
   *
   * @param given what the pod was made with
   * @param log is told when it waits
   */
  Launch take(Launch given, Log log) throws IOException, InterruptedException {
    if (!Files.isDirectory(state)) {
      return given; // a pod whose container is never started again
    }
    Path mark = state.resolve("generation");
    int over = Files.exists(mark) ? read(mark, given) : 0;
    Launch next = given;
    if (given.isSpare() || given.ranks().generation() <= over) {
      log.line(
          over == 0
              ? given.name() + " is a spare; waiting for a place in the gang"
              : "start " + over + " of the gang is over; waiting for the next");
      Optional<Launch> known = later(given, over);
      while (known.isEmpty()) {
        Thread.sleep(POLL_MILLIS);
        known = later(given, over);
      }
      next = known.get();
      log.line("start " + next.ranks().generation() + " of the gang begins");
    }
    WholeFile.write(
        mark, Integer.toString(next.ranks().generation()).getBytes(StandardCharsets.UTF_8));
    return next;
  }

  /** The last start that was taken; that of the pod when the note of it was never finished. */
  private static int read(Path mark, Launch given) throws IOException {
    try {
      return Integer.parseInt(new String(Files.readAllBytes(mark), StandardCharsets.UTF_8).strip());
    } catch (NumberFormatException e) {
      return given.ranks().generation();
    }
  }

  private Optional<Launch> later(Launch given, int over) throws IOException {
    return published().filter(map -> map.generation() > over).flatMap(given::in);
  }

  private Optional<RankMap> published() throws IOException {
    try {
      return Files.exists(published)
          ? Optional.of(JSON.readValue(Files.readAllBytes(published), RankMap.class))
          : Optional.empty();
    } catch (JsonProcessingException e) {
      return Optional.empty(); // being replaced
    }
  }
}
