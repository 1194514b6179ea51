package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.RankMap;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
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
    assertThat(new Turn(root).take(member(3), log)).isEqualTo(member(3));
    publish(map(3));
    CompletableFuture<Launch> again = take(member(3));
    Thread.sleep(700);
    assertThat(again).as("start 3 is over").isNotDone();
    publish(map(4));
    assertThat(again.get(10, TimeUnit.SECONDS)).isEqualTo(member(4));
    publish(map(5));
    assertThat(new Turn(root).take(member(3), log)).isEqualTo(member(5));
  }

  /** A kill, or a full disk, in the middle of the note of which start it was. */
  @Test
  void aNoteThatCannotBeReadIsThatOfTheStartItWasMadeFor() throws Exception {
    Files.createDirectories(root.resolve("state"));
    Files.writeString(root.resolve("state/generation"), "");
    publish(map(3));
    CompletableFuture<Launch> again = take(member(3));
    Thread.sleep(700);
    assertThat(again).as("start 3 may be over").isNotDone();
    publish(map(4));
    assertThat(again.get(10, TimeUnit.SECONDS)).isEqualTo(member(4));
    assertThat(root.resolve("state").toFile().list()).containsExactly("generation");
  }

  @Test
  void aSpareWaitsUntilAStartNamesItAndKeepsItsPlace() throws Exception {
    Files.createDirectories(root.resolve("state"));
    Launch spare = launch(map(3), -1, "s");
    publish(map(3));
    CompletableFuture<Launch> waiting = take(spare);
    Thread.sleep(700);
    assertThat(waiting).as("start 3 has no place for it").isNotDone();
    publish(map(4, "a.x.y.svc", "s.x.y.svc"));
    Launch placed = waiting.get(10, TimeUnit.SECONDS);
    assertThat(placed.pod()).isEqualTo(1);
    assertThat(placed.ranks().generation()).isEqualTo(4);
    CompletableFuture<Launch> next = take(spare);
    Thread.sleep(700);
    assertThat(next).as("start 4 is over").isNotDone();
    publish(map(5, "s.x.y.svc", "a.x.y.svc"));
    assertThat(next.get(10, TimeUnit.SECONDS).pod()).isZero();
  }

  @Test
  void aPodWhosePlaceASpareHasTakenStaysOut() throws Exception {
    Files.createDirectories(root.resolve("state"));
    new Turn(root).take(member(3), log);
    CompletableFuture<Launch> replaced = take(member(3));
    publish(map(4, "s.x.y.svc"));
    Thread.sleep(700);
    assertThat(replaced).isNotDone();
    publish(map(5));
    assertThat(replaced.get(10, TimeUnit.SECONDS)).isEqualTo(member(5));
  }

  private CompletableFuture<Launch> take(Launch launch) {
    return CompletableFuture.supplyAsync(
        () -> {
          try {
            return new Turn(root).take(launch, log);
          } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
          }
        });
  }

  @Test
  void aPodWithoutStateTakesWhatItIsGiven() throws Exception {
    assertThat(new Turn(root).take(member(1), log)).isEqualTo(member(1));
    assertThat(new Turn(root).take(member(1), log)).isEqualTo(member(1));
  }

  private Launch member(int generation) {
    return launch(map(generation), 0, "a.x.y.svc");
  }

  private Launch launch(RankMap ranks, int pod, String name) {
    return new Launch(root, null, ranks, pod, InetAddress.getLoopbackAddress(), name);
  }

  private static RankMap map(int generation) {
    return map(generation, "a.x.y.svc");
  }

  private static RankMap map(int generation, String... names) {
    return new RankMap(
        generation,
        IntStream.range(0, names.length)
            .mapToObj(i -> new RankMap.Pod(i, names[i], null, List.of(i)))
            .toList());
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
