package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The page about a job's life names every reason that there is, and no other. */
class JobLifeDocTest {
  private static final Pattern ROW = Pattern.compile("\\| `(\\w+)` \\|.*");

  @Test
  void everyReasonOfAConditionIsDocumented() throws IOException {
    assertThat(rows("## Reasons"))
        .containsExactlyInAnyOrderElementsOf(
            Stream.of(ConditionReason.values()).map(Enum::name).toList());
  }

  @Test
  void everythingThatCanHappenToAPodIsDocumented() throws IOException {
    assertThat(rows("## When a gang breaks"))
        .containsExactlyInAnyOrderElementsOf(
            Stream.of(FailurePolicy.PodReason.values()).map(Enum::name).toList());
  }

  private static List<String> rows(String heading) throws IOException {
    return Files.readAllLines(Path.of("..", "docs", "job-life.md")).stream()
        .dropWhile(line -> !line.equals(heading))
        .skip(1)
        .takeWhile(line -> !line.startsWith("## "))
        .map(ROW::matcher)
        .filter(Matcher::matches)
        .map(m -> m.group(1))
        .toList();
  }
}
