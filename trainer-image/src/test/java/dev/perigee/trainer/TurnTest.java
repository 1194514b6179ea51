package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.RankMap;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A container that is started again in its pod. */
class TurnTest {
  @TempDir Path root;
  private final Log log =
      new Log(new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8));

  @Test
  void theFirstStartIsTakenAtOnceAndTheNextIsWaitedFor() throws Exception {
    Files.createDirectories(root.resolve("state"));
    assertThat(new Turn(root).take(map(3), log)).isEqualTo(map(3));
    publish(map(3));
    CompletableFuture<RankMap> again =
        CompletableFuture.supplyAsync(
            () -> {
              try {
                return new Turn(root).take(map(3), log);
              } catch (IOException | InterruptedException e) {
                throw new IllegalStateException(e);
              }
            });
    Thread.sleep(700);
    assertThat(again).as("start 3 is over").isNotDone();
    publish(map(4));
    assertThat(again.get(10, TimeUnit.SECONDS)).isEqualTo(map(4));
    publish(map(5));
    assertThat(new Turn(root).take(map(3), log)).isEqualTo(map(5));
  }

  @Test
  void aPodWithoutStateTakesWhatItIsGiven() throws Exception {
    assertThat(new Turn(root).take(map(1), log)).isEqualTo(map(1));
    assertThat(new Turn(root).take(map(1), log)).isEqualTo(map(1));
  }

  private static RankMap map(int generation) {
    return new RankMap(generation, List.of(new RankMap.Pod(0, "a", null, List.of(0))));
  }

  private void publish(RankMap map) throws IOException {
    Files.createDirectories(root.resolve("peers"));
    Path next = root.resolve("peers/next");
    Files.write(next, new ObjectMapper().writeValueAsBytes(map));
    Files.move(
        next,
        root.resolve("peers/ranks.json"),
        StandardCopyOption.ATOMIC_MOVE,
        StandardCopyOption.REPLACE_EXISTING);
  }
}
