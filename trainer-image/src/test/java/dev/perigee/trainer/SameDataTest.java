package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.data.Fingerprint;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Pods that each have a folder of their own under the path of a data source, as processes. */
class SameDataTest {
  private static final Duration PATIENCE = Duration.ofMinutes(1);
  private static final String TEXT = "{\"text\": \"" + "Call me Ishmael. ".repeat(40) + "\"}\n";

  @TempDir Path folder;

  @Test
  void podsWithTheSameTextTrainOnIt() throws Exception {
    try (Gang gang = gang(TEXT, TEXT)) {
      assertThat(gang.exits(PATIENCE)).as(gang.output(0)).containsOnly(ExitCode.DONE.code());
    }
  }

  @Test
  void podsWithDifferentTextEndAndEachNamesTheSourceAndWhoHasWhat() throws Exception {
    String other = TEXT.replaceFirst("Ishmael", "Ishmaels");
    try (Gang gang = gang(TEXT, other)) {
      assertThat(gang.exits(PATIENCE)).as(gang.output(0)).containsOnly(ExitCode.BAD_CONFIG.code());
      for (int pod = 0; pod < 2; pod++) {
        assertThat(gang.output(pod).lines().filter(line -> line.startsWith("perigee-trainer: ")))
            .as(gang.output(pod))
            .singleElement()
            .asString()
            .contains("data source book: ")
            .containsPattern(
                "pod 0 \\(%s\\) read 1 file of %d bytes".formatted(gang.address(0), TEXT.length()))
            .containsPattern(
                "pod 1 \\(%s\\) read 1 file of %d bytes".formatted(gang.address(1), other.length()))
            .contains("give all pods the same files");
      }
      assertThat(folder.resolve("volume/step-00000001")).doesNotExist();
    }
  }

  @Test
  void whoHasReadTheSameIsNamedTogetherAndManyAreCounted() {
    Fingerprint one = new Fingerprint("data source book", Path.of("/data"), 2, 30, 0xabcL);
    Fingerprint two = new Fingerprint("data source book", Path.of("/data"), 2, 30, 0xdefL);
    Fingerprint ranks = new Fingerprint("tokenizer.path", Path.of("/ranks"), 1, 9, 1);
    List<RankMap.Pod> pods =
        IntStream.range(0, 7)
            .mapToObj(i -> new RankMap.Pod(i, "p-" + i, null, List.of(i)))
            .toList();
    List<List<Fingerprint>> read = new ArrayList<>(Collections.nCopies(7, List.of(ranks, one)));
    RankMap map = new RankMap(1, pods);
    assertThat(SameData.differences(map, read)).isEmpty();
    read.set(1, List.of(ranks, two));
    assertThat(SameData.differences(map, read))
        .singleElement()
        .asString()
        .startsWith("data source book: pods of this job found different files at /data: ")
        .contains(
            "pod 0 (p-0), pod 2 (p-2), pod 3 (p-3), pod 4 (p-4) and 2 more read 2 files of 30"
                + " bytes (digest 000000000abc), pod 1 (p-1) read 2 files of 30 bytes (digest"
                + " 000000000def); give all pods the same files");
  }

  /** A job of two pods of which each reads its own {@code books/book.jsonl}. */
  private Gang gang(String... texts) throws IOException {
    RunConfig c = Gang.config(folder.resolve("volume"), new Mesh(1, 4, 4, 2), 1);
    Gang gang = Gang.prepare(folder, on(c, new RunConfig.DataSource("book", 1, null, "books")));
    for (int pod = 0; pod < texts.length; pod++) {
      Path books = Files.createDirectories(gang.root(pod).resolve("books"));
      Files.writeString(books.resolve("book.jsonl"), texts[pod]);
      gang.startPod(pod);
    }
    return gang;
  }

  private static RunConfig on(RunConfig c, RunConfig.DataSource source) {
    return new RunConfig(
        c.job(),
        c.seed(),
        c.model(),
        List.of(source),
        c.tokenizer(),
        c.sequenceLength(),
        c.batchTokens(),
        c.mesh(),
        c.optimizer(),
        c.schedule(),
        c.steps(),
        c.checkpoint(),
        c.evaluation(),
        c.network());
  }
}
