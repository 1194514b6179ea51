package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HistoryTest {
  @TempDir Path folder;

  @Test
  void readsThePointsAndLeavesOutALineThatIsCutShort() throws IOException {
    Path file =
        Files.writeString(
            folder.resolve(History.FILE),
            """
            {"step": 1, "loss": 5.5, "maxQkLogit": 0.1}
            {"step": 2, "loss": 5.0, "maxQkLogit": 0.2}
            {"step": 3, "lo""");

    History history = History.read(file);

    assertThat(history)
        .isEqualTo(new History(List.of(1.0, 2.0), List.of(5.5, 5.0), List.of(0.1, 0.2)));
  }

  @Test
  void drawsTwoPicturesThatCanBeRead() throws IOException {
    History history =
        new History(List.of(1.0, 2.0, 3.0), List.of(5.0, 4.0, 3.5), List.of(1.0, 2.0, 1.5));

    List<Path> pictures = HistoryPlots.draw(history, folder, "demo");

    assertThat(pictures)
        .extracting(p -> p.getFileName().toString())
        .containsExactly("loss.png", "qk.png");
    assertThat(ImageIO.read(pictures.getFirst().toFile()).getWidth()).isEqualTo(900);
  }

  @Test
  void theTimeLeftFollowsFromTheLastSteps() {
    TimeLeft left = new TimeLeft();

    assertThat(left.after(10, 100, 0)).isEmpty();
    assertThat(left.after(20, 100, 10_000_000_000L)).contains(Duration.ofSeconds(80));
    assertThat(left.after(15, 100, 11_000_000_000L)).as("after a restart").isEmpty();
    assertThat(TimeLeft.shown(Duration.ofSeconds(190))).isEqualTo("3 min 10 s");
  }
}
