package dev.perigee.helm;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.api.ConditionReason;
import dev.perigee.operator.OperatorMetrics;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Alerts ask for what the programs say; docs/metrics.md is the list of it. */
class AlertsTest {
  private static final Path PAGE = Path.of("..", "docs", "metrics.md");
  private static final Pattern METRIC = Pattern.compile("perigee_(?!dev_)[a-z_]+");
  private static final Pattern REASONS = Pattern.compile("reason=~\"([^\"]*)\"");

  @Test
  void everyMetricOfAnAlertIsOnThePage() throws IOException {
    Set<String> known = onPage("");
    List<String> used = new ArrayList<>();
    for (JsonNode rule : rules()) {
      METRIC
          .matcher(rule.path("expr").asText())
          .results()
          .map(MatchResult::group)
          .forEach(used::add);
    }
    assertThat(used).hasSizeGreaterThan(5).allMatch(known::contains);
  }

  @Test
  void everyReasonOfAnAlertIsOneThatJobsGive() {
    Set<String> known =
        Stream.of(ConditionReason.values()).map(Enum::name).collect(Collectors.toSet());
    List<String> used = new ArrayList<>();
    for (JsonNode rule : rules()) {
      REASONS
          .matcher(rule.path("expr").asText())
          .results()
          .forEach(match -> used.addAll(List.of(match.group(1).split("\\|"))));
    }
    assertThat(used).isNotEmpty().allMatch(known::contains).doesNotHaveDuplicates();
  }

  @Test
  void everyAlertSaysWhatItIsAndWhatToDo() {
    for (JsonNode rule : rules()) {
      assertThat(rule.at("/annotations/summary").asText()).isNotEmpty();
      assertThat(rule.at("/annotations/description").asText()).isNotEmpty();
      assertThat(rule.at("/labels/severity").asText()).isIn("warning", "critical");
    }
  }

  @Test
  void everyAlertHasItsSectionOnThePageAndNothingElseHas() throws IOException {
    List<String> sections =
        Files.readAllLines(Path.of("..", "docs", "alerts.md")).stream()
            .filter(line -> line.startsWith("## "))
            .map(line -> line.substring(3))
            .toList();
    assertThat(rules())
        .extracting(rule -> rule.path("alert").asText())
        .containsExactlyElementsOf(sections);
    assertThat(rules()).noneMatch(rule -> rule.at("/annotations").has("runbook_url"));
    String page = "https://wiki.example/perigee/alerts";
    assertThat(rules("runbookUrl: " + page))
        .extracting(rule -> rule.at("/annotations/runbook_url").asText())
        .containsExactlyElementsOf(
            sections.stream().map(s -> page + "#" + s.toLowerCase(Locale.ROOT)).toList());
  }

  /** Both replicas count the same jobs. */
  @Test
  void jobsAreNotCountedOnceForEachReplica() {
    assertThat(rules())
        .extracting(rule -> rule.path("expr").asText())
        .filteredOn(expr -> expr.contains("perigee_jobs"))
        .hasSize(2)
        .allMatch(expr -> expr.contains("max by (namespace, job, kind, reason) (perigee_jobs{"));
  }

  @Test
  void thePageNamesTheOperatorsMetricsAndNoOthers() throws IOException {
    Set<String> said =
        new OperatorMetrics()
            .text()
            .lines()
            .filter(line -> line.startsWith("# TYPE perigee_") && !line.contains("_created "))
            .map(line -> line.split(" ", -1)[2])
            .collect(Collectors.toSet());
    said.add("perigee_jobs"); // counted where there is a cluster
    assertThat(onPage("## Of the operator")).isEqualTo(said);
  }

  private static List<JsonNode> rules() {
    return rules("labels: {}");
  }

  private static List<JsonNode> rules(String more) {
    List<JsonNode> rules = new ArrayList<>();
    Rendered.with("metrics: {prometheusRule: {enabled: true, %s}}".formatted(more))
        .one("PrometheusRule", "perigee")
        .at("/spec/groups")
        .forEach(group -> group.path("rules").forEach(rules::add));
    return rules;
  }

  /** Names in the first column of the tables after a heading. */
  private static Set<String> onPage(String heading) throws IOException {
    String page = Files.readString(PAGE);
    return page.substring(page.indexOf(heading))
        .lines()
        .filter(line -> line.startsWith("| `perigee_"))
        .map(line -> line.split("`", -1)[1])
        .collect(Collectors.toSet());
  }
}
