package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.RunFiles;
import dev.perigee.run.RunStatus;
import dev.perigee.run.RunStatus.Phase;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What the operator judges a program by: how long nothing happened, and what a save takes. */
class ProgressTest {
  @Test
  void idleTimeGrowsUntilSomethingHappens() throws InterruptedException {
    Progress progress = new Progress(10);
    progress.enter(Phase.Training);
    Thread.sleep(60);
    assertThat(progress.status().idleSeconds()).isGreaterThanOrEqualTo(0.06);
    progress.saved(5, "step-00000005", "d1", 2.5);
    assertThat(progress.status().idleSeconds()).isLessThan(0.06);
  }

  @Test
  void aCheckpointThatWasFoundHasADigestButNoTime() {
    Progress progress = new Progress(10);
    progress.found(5, "step-00000005", "d1");
    assertThat(progress.status().checkpointDigest()).isEqualTo("d1");
    assertThat(progress.status().checkpointSeconds()).isNull();
    progress.saved(6, "step-00000006", "d2", 2.5);
    assertThat(progress.status().checkpointDigest()).isEqualTo("d2");
    assertThat(progress.status().checkpointSeconds()).isEqualTo(2.5);
    assertThat(progress.status().stepSeconds()).as("before the first step").isNull();
  }

  @Test
  void aSaveAfterSigtermMayTakeNearlyAllOfTheGrace() {
    assertThat(Trainer.stopPatience(Map.of())).isEqualTo(Duration.ofSeconds(28));
    assertThat(Trainer.stopPatience(Map.of(RunFiles.GRACE_VARIABLE, "600")))
        .isEqualTo(Duration.ofSeconds(598));
    assertThat(Trainer.stopPatience(Map.of(RunFiles.GRACE_VARIABLE, "1")))
        .isEqualTo(Duration.ofMillis(500));
    assertThat(Trainer.stopPatience(Map.of(RunFiles.GRACE_VARIABLE, "soon")))
        .isEqualTo(Duration.ofSeconds(28));
  }

  @Test
  void lastWordsFitWhatKubernetesKeepsHoweverMuchWentWrong() throws Exception {
    Progress progress = new Progress(10);
    progress.found(5, "step-00000005", "d1");
    progress.failed("every checkpoint is damaged: " + "\u00e9\"\ud83d\ude00".repeat(2000));
    String words = progress.lastWords();
    assertThat(words.getBytes(StandardCharsets.UTF_8)).hasSizeLessThanOrEqualTo(4096);
    RunStatus read = new ObjectMapper().readValue(words, RunStatus.class);
    assertThat(read.message()).startsWith("every checkpoint is damaged: \u00e9").endsWith("\u2026");
    assertThat(read.durableStep()).isEqualTo(5);
    assertThat(progress.status().message()).as("over HTTP").hasSizeGreaterThan(8000);
  }
}
