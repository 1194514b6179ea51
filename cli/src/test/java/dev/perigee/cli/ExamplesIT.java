package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a newcomer does first: {@code ./perigee run} of the examples, from start to end. */
class ExamplesIT {
  private static final Pattern EXACT =
      Pattern.compile("held out +([0-9.]+) % exact answers \\((\\d+) of (\\d+) problems\\)");
  private static final Pattern BITS_PER_BYTE = Pattern.compile("held out +([0-9.]+) bits per byte");

  @TempDir Path folder;

  @Test
  void theQuickstartLearnsItsTaskWithinFourMinutes() throws IOException, InterruptedException {
    String said = run(Duration.ofMinutes(4), "quickstart.yaml");

    Matcher exact = find(EXACT, said);
    assertThat(Integer.parseInt(exact.group(3))).isEqualTo(500);
    assertThat(Double.parseDouble(exact.group(1))).isGreaterThanOrEqualTo(90);
    assertThat(folder.resolve("runs/default/quickstart/quickstart/loss.png")).isNotEmptyFile();
    assertThat(folder.resolve("runs/default/quickstart/quickstart/qk.png")).isNotEmptyFile();
  }

  /** With fewer steps than it has, which are enough for that. */
  @Test
  void aBookIsLearntToTwoPointSevenBitsPerByte() throws IOException, InterruptedException {
    Path book = Checkout.root().resolve("../shared/data/moby-dick.jsonl");
    assumeTrue(Files.isRegularFile(book), "skipped: no book at ../shared/data/moby-dick.jsonl");

    Path shorter =
        shorter("pretrain-text", "steps: 500", "steps: 200", "decaySteps: 250", "decaySteps: 100");
    String said = run(Duration.ofMinutes(2), shorter.toString(), "--data", book.toString());

    assertThat(Double.parseDouble(find(BITS_PER_BYTE, said).group(1))).isLessThanOrEqualTo(2.7);
  }

  @Test
  void aPipelineOfTwoPodsTrainsAndIsScored() throws IOException, InterruptedException {
    String said = run(Duration.ofMinutes(3), "pipeline.yaml");

    assertThat(Integer.parseInt(find(EXACT, said).group(3))).isEqualTo(50);
    Path summary = folder.resolve("runs/default/pipeline/pipeline/summary.json");
    Matcher loss = Pattern.compile("\"loss\" ?: ?([0-9.]+)").matcher(Files.readString(summary));
    assertThat(loss.find()).isTrue();
    assertThat(Double.parseDouble(loss.group(1))).isLessThan(4); // log 258 = 5.6 at the start
  }

  /** With fewer steps than they have; what they learn is what the quickstart learns. */
  @Test
  void theExamplesForAClusterRunToTheirEndHereTooSideBySide()
      throws IOException, InterruptedException {
    String[] fewer = {
      "steps: 600",
      "steps: 12",
      "decaySteps: 300",
      "decaySteps: 4",
      "warmupSteps: 10",
      "warmupSteps: 4"
    };
    run(
        Duration.ofMinutes(3),
        shorter("spares", fewer).toString(),
        shorter("packed", fewer).toString());
    for (String name : List.of("spares", "packed")) {
      assertThat(folder.resolve("runs/default/" + name + "/" + name + "/summary.json"))
          .isNotEmptyFile();
    }
  }

  /** A copy of an example in which pairs of texts are exchanged. */
  private Path shorter(String name, String... pairs) throws IOException {
    String manifest = Files.readString(Checkout.root().resolve("examples").resolve(name + ".yaml"));
    for (int i = 0; i < pairs.length; i += 2) {
      assertThat(manifest).contains(pairs[i]);
      manifest = manifest.replace(pairs[i], pairs[i + 1]);
    }
    return Files.writeString(folder.resolve(name + ".yaml"), manifest);
  }

  /**
   * Runs an example to its end, which must be Complete and within the limit, or by as much later as
   * the machine is slower than when calm.
   */
  private String run(Duration limit, String example, String... more)
      throws IOException, InterruptedException {
    List<String> arguments =
        new ArrayList<>(
            List.of(
                "run",
                Checkout.root().resolve("examples").resolve(example).toString(),
                "--runs",
                folder.resolve("runs").toString()));
    arguments.addAll(List.of(more));
    double stretch = Yardstick.stretch();
    Instant begin = Instant.now();
    PerigeeProcess perigee =
        PerigeeProcess.start(folder.resolve("output"), arguments.toArray(String[]::new));
    boolean ended = perigee.process().waitFor(15, TimeUnit.MINUTES);
    Duration took = Duration.between(begin, Instant.now());
    perigee.process().destroy();
    String said = perigee.said();
    System.out.println(said);
    assertThat(ended).as("ended").isTrue();
    assertThat(perigee.process().exitValue()).as(said).isZero();
    if (took.compareTo(limit) > 0) {
      stretch = Math.max(stretch, Yardstick.stretch()); // others may have come since
    }
    assertThat(took).isLessThan(Duration.ofMillis((long) (limit.toMillis() * stretch)));
    return said;
  }

  private static Matcher find(Pattern pattern, String said) {
    Matcher matcher = pattern.matcher(said);
    assertThat(matcher.find()).as(said).isTrue();
    return matcher;
  }
}
