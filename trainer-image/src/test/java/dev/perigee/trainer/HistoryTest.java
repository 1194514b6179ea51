package dev.perigee.trainer;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.checkpoint.StorageException;
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
  void stepsThatAreTakenAgainAreWrittenOnce() throws Exception {
    append(0, 1, 5);
    // A crash in the middle of a line.
    Files.writeString(file(), "{\"step\":6,\"lo", StandardOpenOption.APPEND);
    append(3, 4, 7);
    assertThat(steps()).containsExactly(1L, 2L, 3L, 4L, 5L, 6L, 7L);
    append(7, 8, 8);
    assertThat(steps()).containsExactly(1L, 2L, 3L, 4L, 5L, 6L, 7L, 8L);
  }

  /** What a loss of power leaves at the end of a file. */
  @Test
  void bytesThatAreNoTextAreCutOffAsHalfALineIs() throws Exception {
    for (byte[] rest :
        List.of(
            new byte[] {(byte) 0xff, (byte) 0xfe, '\n'}, new byte[40], "null\n".getBytes(UTF_8))) {
      append(0, 1, 5);
      Files.write(file(), rest, StandardOpenOption.APPEND);
      append(5, 6, 6);
      assertThat(steps()).containsExactly(1L, 2L, 3L, 4L, 5L, 6L);
    }
  }

  @Test
  void aRunFromTheBeginningStartsAFreshHistory() throws Exception {
    append(0, 1, 5);
    append(0, 1, 2);
    assertThat(steps()).containsExactly(1L, 2L);
  }

  /** A full disk says "No space left on device", and not of which. */
  @Test
  void aLineThatCannotBeWrittenIsAMatterOfStorageAndNamesTheFile() throws Exception {
    History history = History.open(directory, 0);
    history.close(); // so that the channel refuses, as that of a full disk does
    assertThatThrownBy(() -> history.append(report(1), 640.0))
        .isInstanceOf(StorageException.class)
        .hasMessageStartingWith("cannot write " + file() + ": ");
  }

  private void append(long after, long first, long last) throws Exception {
    try (History history = History.open(directory, after)) {
      for (long step = first; step <= last; step++) {
        history.append(report(step), 640.0);
      }
    }
  }

  private static StepReport report(long step) {
    float[][] ones = {{1}};
    return new StepReport(step, 2, 3, 1e-3, ones, ones, 0, new long[0][], 64, 0.1, 0.01);
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
