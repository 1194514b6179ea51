package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.io.TempDir;

/** What a running trainer answers. One long job, stopped by the last test. */
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class EndpointTest {
  private static final Pattern ROW =
      Pattern.compile("\\| `(perigee_\\w+)` \\| (\\w+) \\| ([^|]*)\\|.*");
  private static final Pattern TYPE = Pattern.compile("# TYPE (\\w+) (\\w+)");
  private static final Pattern SAMPLE = Pattern.compile("(\\w+?)(?:\\{(.*)})? \\S+");
  private static final Pattern LABEL = Pattern.compile("(\\w+)=\"");

  @TempDir static Path folder;
  private static Gang gang;

  @BeforeAll
  static void start() throws Exception {
    RunConfig config = Gang.config(folder.resolve("volume"), Mesh.SINGLE, 1_000_000);
    gang = Gang.start(folder, config);
    gang.awaitStep(3);
  }

  @AfterAll
  static void end() {
    gang.close();
  }

  private record Metric(String type, TreeSet<String> labels) {}

  @Test
  @Order(1)
  void everyMetricIsDocumentedAndEveryDocumentedMetricIsThere() throws Exception {
    assertThat(endpoint()).isEqualTo(documented());
  }

  private static Map<String, Metric> documented() throws IOException {
    Map<String, Metric> found = new TreeMap<>();
    for (String line : Files.readAllLines(Path.of("../docs/metrics.md"))) {
      if (line.equals("## Of the operator")) {
        break;
      }
      Matcher row = ROW.matcher(line);
      if (row.matches()) {
        TreeSet<String> labels = new TreeSet<>();
        Matcher label = Pattern.compile("`(\\w+)`").matcher(row.group(3));
        while (label.find()) {
          labels.add(label.group(1));
        }
        found.put(row.group(1), new Metric(row.group(2), labels));
      }
    }
    return found;
  }

  private static Map<String, Metric> endpoint() throws Exception {
    HttpResponse<String> response = gang.request(0, "GET", "/metrics");
    assertThat(response.statusCode()).isEqualTo(200);
    Map<String, Metric> found = new TreeMap<>();
    for (String line : response.body().lines().toList()) {
      Matcher type = TYPE.matcher(line);
      if (type.matches()) {
        if (type.group(1).endsWith("_created")) {
          continue; // when the client made a counter; not a figure of ours
        }
        assertThat(type.group(1)).matches("(perigee|jvm|process)_.*");
        if (type.group(1).startsWith("perigee_")) {
          found.put(type.group(1), new Metric(type.group(2), new TreeSet<>()));
        }
      } else if (line.startsWith("perigee_")) {
        Matcher sample = SAMPLE.matcher(line);
        assertThat(sample.matches()).as(line).isTrue();
        Metric metric = found.get(sample.group(1).replaceFirst("_(bucket|count|sum)$", ""));
        if (metric != null && sample.group(2) != null) {
          Matcher label = LABEL.matcher(sample.group(2));
          while (label.find()) {
            if (!label.group(1).equals("le")) {
              metric.labels.add(label.group(1));
            }
          }
        }
      }
    }
    return found;
  }

  @Test
  @Order(2)
  void metricsAndStatusTellOfTheSameRun() throws Exception {
    String metrics = gang.request(0, "GET", "/metrics").body();
    assertThat(metrics)
        .contains("perigee_total_steps 1000000.0")
        .containsPattern("perigee_phase\\{phase=\"(Training|Saving)\",} 1.0")
        .containsPattern("perigee_attention_logit_max\\{layer=\"1\",head=\"1\",} \\d")
        .containsPattern("perigee_qk_clip_factor\\{layer=\"0\",head=\"0\",} [01]\\.\\d")
        .containsPattern("perigee_expert_tokens_total\\{layer=\"1\",expert=\"7\",} \\d");
    RunStatus status = gang.status();
    assertThat(status.phase()).isIn(RunStatus.Phase.Training, RunStatus.Phase.Saving);
    assertThat(status.step()).isGreaterThanOrEqualTo(3);
    assertThat(status.loss()).isPositive();
    assertThat(status.tokensPerSecond()).isPositive();
    assertThat(status.evaluation()).isNull();
  }

  @Test
  @Order(3)
  void aTrainingPodIsHealthyAndReadyAndOtherPathsAndMethodsAreRefused() throws Exception {
    assertThat(gang.request(0, "GET", "/healthz").statusCode()).isEqualTo(200);
    assertThat(gang.request(0, "GET", "/readyz").statusCode()).isEqualTo(200);
    assertThat(gang.request(0, "GET", "/nothing").statusCode()).isEqualTo(404);
    assertThat(gang.request(0, "GET", "/stop").statusCode()).isEqualTo(405);
    assertThat(gang.request(0, "POST", "/status").statusCode()).isEqualTo(405);
  }

  @Test
  @Order(4)
  void aCheckpointIsSavedOnRequestAndNotOnlyAtIntervals() throws Exception {
    boolean between = false;
    for (int tries = 0; tries < 10 && !between; tries++) {
      long before = gang.status().durableStep() == null ? 0 : gang.status().durableStep();
      assertThat(gang.request(0, "POST", "/checkpoint").statusCode()).isEqualTo(202);
      long durable = before;
      for (int i = 0; i < 1000 && durable == before; i++) {
        Thread.sleep(5);
        durable = gang.status().durableStep() == null ? 0 : gang.status().durableStep();
      }
      // The regular ones are at multiples of 20; a request may fall on one by chance.
      between = durable % 20 != 0;
    }
    assertThat(between).isTrue();
  }

  @Test
  @Order(5)
  void stopEndsTheJobAfterSaving() throws Exception {
    assertThat(gang.request(0, "POST", "/stop").statusCode()).isEqualTo(202);
    assertThat(gang.exits(Duration.ofSeconds(10))).containsExactly(ExitCode.STOPPED.code());
    assertThat(gang.output(0)).contains("stopped after step");
  }
}
