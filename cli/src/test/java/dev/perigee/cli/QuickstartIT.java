package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The first thing that a newcomer does: {@code ./perigee run examples/quickstart.yaml}. */
class QuickstartIT {
  private static final Pattern EXACT =
      Pattern.compile("held out +([0-9.]+) % exact answers \\((\\d+) of (\\d+) problems\\)");

  @TempDir Path folder;

  @Test
  void theQuickstartLearnsItsTaskWithinFourMinutes() throws IOException, InterruptedException {
    Instant begin = Instant.now();

    PerigeeProcess perigee =
        PerigeeProcess.start(
            folder.resolve("output"),
            "run",
            Checkout.root().resolve("examples/quickstart.yaml").toString(),
            "--runs",
            folder.resolve("runs").toString());
    boolean ended = perigee.process().waitFor(6, TimeUnit.MINUTES);
    perigee.process().destroy();
    String said = perigee.said();
    System.out.println(said);

    assertThat(ended).as("ended").isTrue();
    assertThat(perigee.process().exitValue()).as(said).isZero();
    assertThat(Duration.between(begin, Instant.now())).isLessThan(Duration.ofMinutes(4));
    Matcher exact = EXACT.matcher(said);
    assertThat(exact.find()).as(said).isTrue();
    assertThat(Integer.parseInt(exact.group(3))).isEqualTo(500);
    assertThat(Double.parseDouble(exact.group(1))).isGreaterThanOrEqualTo(90);
    assertThat(folder.resolve("runs/default/quickstart/quickstart/loss.png")).isNotEmptyFile();
    assertThat(folder.resolve("runs/default/quickstart/quickstart/qk.png")).isNotEmptyFile();
  }
}
