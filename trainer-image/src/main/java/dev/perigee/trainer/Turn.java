package dev.perigee.trainer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunFiles;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Which start of its gang this program takes part in. A container that was started again in its
 * place still has the rank map of the start that is over; it waits for that of the next, which the
 * operator publishes where addresses are published too.
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
   * The rank map of the start that is now to come; waits for it when the given one is over.
   *
   * @param given the rank map that the pod was made with
   * @param log is told when it waits
   */
  RankMap take(RankMap given, Log log) throws IOException, InterruptedException {
    if (!Files.isDirectory(state)) {
      return given; // a pod whose container is never started again
    }
    Path mark = state.resolve("generation");
    int over = Files.exists(mark) ? Integer.parseInt(Files.readString(mark).strip()) : 0;
    RankMap next = given;
    if (given.generation() <= over) {
      log.line("start " + over + " of the gang is over; waiting for the next");
      Optional<RankMap> known = published();
      while (known.isEmpty() || known.get().generation() <= over) {
        Thread.sleep(POLL_MILLIS);
        known = published();
      }
      next = known.get();
      log.line("start " + next.generation() + " of the gang begins");
    }
    Files.write(mark, Integer.toString(next.generation()).getBytes(StandardCharsets.UTF_8));
    return next;
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
