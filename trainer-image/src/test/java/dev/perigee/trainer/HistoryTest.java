package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.train.StepReport;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HistoryTest {
  @TempDir Path directory;

  @Test
  void stepsThatAreTakenAgainAreWrittenOnce() throws IOException {
    append(0, 1, 5);
    // A crash in the middle of a line.
    Files.writeString(file(), "{\"step\":6,\"lo", StandardOpenOption.APPEND);
    append(3, 4, 7);
    assertThat(steps()).containsExactly(1L, 2L, 3L, 4L, 5L, 6L, 7L);
    append(7, 8, 8);
    assertThat(steps()).containsExactly(1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L);
  }

  @Test
  void aRunFromTheBeginningStartsAFreshHistory() throws IOException {
    append(0, 1, 5);
    append(0, 1, 2);
    assertThat(steps()).containsExactly(1L, 2L);
  }

  private void append(long after, long first, long last) throws IOException {
    try (History history = History.open(directory, after)) {
      for (long step = first; step <= last; step++) {
        float[][] ones = {{1}};
        history.append(
            new StepReport(step, 2, 3, 1e-3, ones, ones, 0, new long[0][], 64, 0.1, 0.01), 640.0);
      }
    }
  }

  private Path file() {
    return directory.resolve("history.jsonl");
  }

  private List<Long> steps() throws IOException {
    return Files.readAllLines(file()).stream()
        .map(line -> Long.valueOf(line.replaceFirst("\\{\"step\":(\\d+),.*", "$1")))
        .toList();
  }
}
