package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

class ProgressViewTest {
  private final StringWriter written = new StringWriter();
  private final PrintWriter out = new PrintWriter(written);

  @Test
  void onATerminalAJobKeepsItsTwoLinesHoweverOftenItIsShown() {
    ProgressView view = ProgressView.forOutput(out, true);
    for (int step = 1; step <= 600; step++) {
      view.show(List.of(job("quickstart", "Training", step)));
    }
    List<String> screen = Screen.of(written, 200);
    assertThat(screen).hasSize(2);
    assertThat(screen.getFirst())
        .startsWith("quickstart  ██████████████████████████████  Training");
    assertThat(screen.get(1))
        .isEqualTo("  step 600/600  loss 0.5000  38,000 tokens/s  max QK 12.3  clipped 1");
  }

  @Test
  void aTerminalThatIsTooNarrowCutsLinesOffAndNothingIsLeftBehind() {
    ProgressView view = ProgressView.forOutput(out, true);
    view.show(List.of(job("a-job-with-quite-a-long-name", "Training", 1)));
    view.show(List.of(job("a-job-with-quite-a-long-name", "Training", 2)));
    assertThat(Screen.of(written, 24))
        .containsExactly("a-job-with-quite-a-long-", "  step 2/600  loss 0.500");
  }

  @Test
  void aWarningStaysAboveTheLiveLinesAndJobsMayComeAndGo() {
    ProgressView view = ProgressView.forOutput(out, true);
    view.show(List.of(job("a", "Training", 1), job("b", "Training", 1)));
    view.say("  ! a: PodFailed: exit code 3");
    view.show(List.of(job("b", "Training", 2)));
    view.end();
    view.show(List.of(job("b", "Training", 3)));
    List<String> screen = Screen.of(written, 200);
    assertThat(screen).hasSize(3);
    assertThat(screen.get(0)).isEqualTo("  ! a: PodFailed: exit code 3");
    assertThat(screen.get(1)).startsWith("b  ");
    assertThat(screen.get(2)).startsWith("  step 2/600");
  }

  @Test
  void withoutATerminalThereAreNoControlCharactersAndALineForEachChange() {
    ProgressView view = ProgressView.forOutput(out, false);
    view.show(List.of(job("quickstart", "Starting", 0)));
    view.show(List.of(job("quickstart", "Training", 1)));
    view.show(List.of(job("quickstart", "Training", 2)));
    view.end();
    assertThat(written.toString()).doesNotContain("\u001b").doesNotContain("\r");
    assertThat(written.toString().lines()).hasSize(2);
  }

  @Test
  void withoutATerminalAJobThatStandsStillIsToldLessOftenThanOneThatMoves() {
    AtomicReference<Instant> now = new AtomicReference<>(Instant.EPOCH);
    ProgressView view = new ProgressView.Plain(out, now::get);
    for (int second = 0; second < 60; second++) {
      view.show(List.of(job("waits", "Saving", 7), job("moves", "Training", 1 + second)));
      now.updateAndGet(t -> t.plusSeconds(1));
    }
    assertThat(written.toString().lines().filter(l -> l.startsWith("waits"))).hasSize(2);
    assertThat(written.toString().lines().filter(l -> l.startsWith("moves"))).hasSize(12);
  }

  private static JobView job(String name, String reason, int step) {
    String progress =
        step == 0
            ? "{}"
            : """
              {"step": %d, "totalSteps": 600, "loss": 0.5, "tokensPerSecond": 38000,
               "maxQkLogit": 12.3, "clippedHeads": 1}
              """
                .formatted(step);
    String object =
        """
        {"metadata": {"namespace": "default", "name": "%s"},
         "status": {
           "conditions": [
             {"type": "Ready", "status": "True", "reason": "%s", "message": "",
              "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
           "progress": %s}}
        """
            .formatted(name, reason, progress);
    try {
      JsonNode node = new ObjectMapper().readTree(object);
      return JobView.of(node);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  /** As much of a terminal as the view needs. */
  private static final class Screen {
    private final int width;
    private final List<StringBuilder> lines = new ArrayList<>(List.of(new StringBuilder()));
    private boolean wraps = true;
    private int row;
    private int column;

    private Screen(int width) {
      this.width = width;
    }

    /** The lines that one sees, without the empty one where the cursor is. */
    static List<String> of(StringWriter written, int width) {
      Screen screen = new Screen(width);
      String text = written.toString();
      for (int i = 0; i < text.length(); i++) {
        if (text.charAt(i) == '\u001b') {
          int end = i + 2;
          while (!Character.isLetter(text.charAt(end))) {
            end++;
          }
          screen.control(text.substring(i + 2, end + 1));
          i = end;
        } else {
          screen.print(text.charAt(i));
        }
      }
      List<String> seen = new ArrayList<>();
      screen.lines.forEach(line -> seen.add(line.toString()));
      while (!seen.isEmpty() && seen.getLast().isEmpty()) {
        seen.removeLast();
      }
      return seen;
    }

    private void control(String sequence) {
      switch (sequence) {
        case "1A" -> row = Math.max(0, row - 1);
        case "2K" -> lines.get(row).setLength(0);
        case "?7l" -> wraps = false;
        case "?7h" -> wraps = true;
        default -> throw new AssertionError("the view wrote a control sequence: " + sequence);
      }
    }

    private void print(char c) {
      if (c == '\n') {
        down();
      } else if (c == '\r') {
        column = 0;
      } else {
        if (column == width && wraps) {
          down();
        }
        int at = Math.min(column, width - 1);
        StringBuilder line = lines.get(row);
        while (line.length() <= at) {
          line.append(' ');
        }
        if (column < width) {
          line.setCharAt(at, c);
          column++;
        }
      }
    }

    private void down() {
      row++;
      column = 0;
      if (row == lines.size()) {
        lines.add(new StringBuilder());
      }
    }
  }
}
