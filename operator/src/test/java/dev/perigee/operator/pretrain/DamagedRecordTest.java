package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.ConditionType;
import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The annotation of a job's Service is damaged, or somebody wrote into it: a record that cannot be
 * true is as good as none, and is written anew from the status.
 */
class DamagedRecordTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final FakeCluster cluster =
      new FakeCluster(
          Jobs.with(
              Jobs.with(
                  Jobs.with(Jobs.small(), "/activeDeadlineSeconds", "100000"),
                  "/ttlSecondsAfterFinished",
                  "100000"),
              "/failurePolicy",
              "{restart: InPlace}"));

  /** Whole annotations, and single fields of one that is right otherwise. */
  static Stream<String> damages() {
    return Stream.concat(
        Stream.of("", " ", "null", "{", "{\"attempt\": 3, \"restarts\"", "[]", "{}", "3", "\"x\""),
        Stream.of(
            "attempt=null",
            "attempt=\"three\"",
            "attempt={}",
            "attempt=-1",
            "attempt=1e300",
            "attempt=99999999999",
            "attempt=2147483647",
            "restarts=null",
            "restarts=[]",
            "restarts=-1",
            "restarts=99999999999",
            "restarts=2147483647",
            "disruptions=null",
            "disruptions=2147483647",
            "notBefore={}",
            "notBefore=\"tomorrow\"",
            "notBefore=\"+1000000000-12-31T23:59:59Z\"",
            "startTime=[]",
            "startTime=\"\"",
            "startTime=\"+1000000000-12-31T23:59:59Z\"",
            "startTime=\"-1000000000-01-01T00:00:00Z\"",
            "lastFailure={}",
            "lastFailure=\"x\"",
            "lastFailure={\"attempt\": 2}",
            "lastFailure={\"attempt\": 2, \"action\": \"Explode\"}",
            "ended={}",
            "ended=[]",
            "ended={\"how\": \"Complete\"}",
            "ended={\"how\": \"Gone\"}",
            ended("Ready", "Done", "x", "2026-01-01T00:00:00Z"),
            ended("Failed", "", "x", "2026-01-01T00:00:00Z"),
            ended("Failed", "R".repeat(65), "x", "2026-01-01T00:00:00Z"),
            ended("Complete", "Done", "x".repeat(32769), "2026-01-01T00:00:00Z"),
            ended("Complete", "Done", "x", "yesterday"),
            ended("Complete", "Done", "x", "+1000000000-12-31T23:59:59Z"),
            "scheduling={}",
            "scheduling={\"adapter\": \"Oracle\"}",
            "scheduling=7",
            "source={}",
            "source={\"pretrainJob\": \"a\", \"checkpoint\": {}}"));
  }

  private static String ended(String how, String reason, String message, String time) {
    ObjectNode ended = JSON.createObjectNode();
    ended.put("how", how).put("reason", reason).put("message", message).put("time", time);
    return "ended=" + ended;
  }

  @ParameterizedTest
  @MethodSource("damages")
  void aGangThatTrainsGoesOn(String damage) {
    breakOnce();
    train(60);
    assertWrittenAnew(damage);
    assertThat(cluster.generations()).containsExactly(2);
  }

  @ParameterizedTest
  @MethodSource("damages")
  void aRestartThatIsDueComesAndCountsOnce(String damage) {
    breakOnce();
    train(60);
    cluster.said = null;
    cluster.lose("demo-1", PodReason.Evicted);
    cluster.lose("demo-0", PodReason.Evicted);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("BackingOff");
    assertWrittenAnew(damage);
    cluster.pass(400);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(3);
    assertThat(cluster.job.getStatus().restarts()).isEqualTo(1);
    assertThat(cluster.job.getStatus().disruptions()).isEqualTo(1);
  }

  @ParameterizedTest
  @MethodSource("damages")
  void aJobThatEndedStaysEnded(String damage) {
    breakOnce();
    train(60);
    cluster.said = null;
    cluster.exit("demo-1", 0, null);
    cluster.exit("demo-0", 0, "{\"phase\": \"Done\", \"step\": 100, \"loss\": 0.5}");
    cluster.reconcile();
    assertWrittenAnew(damage);
    cluster.vanish("demo-0");
    cluster.vanish("demo-1");
    assertWrittenAnew(damage);
    assertThat(cluster.job.getStatus().holds(ConditionType.Complete)).isTrue();
    assertThat(cluster.podNames()).isEmpty();
  }

  /** Else a source without a checkpoint would let the job begin with random weights. */
  @Test
  void aJobThatContinuesFromAnotherKeepsItsSource() {
    var checkpoint =
        new PretrainJobStatus.CheckpointReference(
            9L, "first/step-00000009", Jobs.small().getSpec().checkpoints().volume(), "d", null);
    var source = new PretrainJobStatus.Source("first", checkpoint);
    PretrainJobStatus resolved = PretrainJobStatus.EMPTY.with(source);
    cluster.job = Jobs.with(cluster.job, "/model", "{from: {pretrainJob: first}}");
    cluster.job.setStatus(resolved);
    breakOnce();
    train(60);
    for (String damage : List.of("source={}", "source={\"checkpoint\": {\"step\": 9}}")) {
      assertWrittenAnew(damage);
      assertThat(cluster.job.getStatus().source()).isEqualTo(source);
    }
  }

  /** What a newer operator wrote beside it does not make a record unreadable. */
  @Test
  void fieldsThatAreNotKnownAreLeftOut() {
    breakOnce();
    train(60);
    annotate("later={\"x\": [1]}");
    annotate("lastFailure.later=1");
    PretrainJobStatus right = cluster.job.getStatus();
    cluster.job.setStatus(Jobs.edited(right, "{restarts: 77, lastFailure: null}"));
    cluster.reconcile();
    assertThat(cluster.job.getStatus()).isEqualTo(right);
  }

  /** Both at once: nothing is known then but what is in the cluster. */
  @ParameterizedTest
  @MethodSource("damages")
  void aStatusThatIsDamagedInTheSameWayIsNoWorse(String damage) throws IOException {
    breakOnce();
    train(60);
    int field = damage.indexOf('=');
    PretrainJob other = cluster.job;
    other.setStatus(
        field < 0
            ? PretrainJobStatus.EMPTY
            : Jobs.edited(
                other.getStatus(),
                "{startTime: tomorrow, completionTime: never, attempt: {notBefore: soon},"
                    + " lastFailure: {reason: null, action: null}, source: {checkpoint: {}},"
                    + " lastDurableCheckpoint: {path: null}, layout: {scheduling: {adapter:"
                    + " null}}, restarts: 2147483647}"));
    annotate(damage);
    cluster.reconcile();
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
    assertThat(cluster.reconcile().remember()).as("what is on record can be read").isEmpty();
    assertThat(JSON.readTree(cluster.annotation(JobRecord.ANNOTATION)).path("attempt").asInt())
        .isEqualTo(2);
  }

  private void breakOnce() {
    cluster.reconcile();
    train(20);
    cluster.said = null;
    cluster.exit("demo-1", 137, null);
    cluster.exit("demo-0", 137, null);
    cluster.reconcile();
    cluster.finishDeletions();
    cluster.pass(400);
    cluster.reconcile();
    assertThat(cluster.generations()).containsExactly(2);
  }

  private void train(long step) {
    cluster.runAll();
    cluster.said =
        Jobs.said(RunStatus.Phase.Training, step, step / 20 * 20, 2.0, "2026-01-01T00:01:00Z");
    cluster.reconcile();
  }

  private void assertWrittenAnew(String damage) {
    PretrainJobStatus right = cluster.job.getStatus();
    String record = cluster.annotation(JobRecord.ANNOTATION);
    annotate(damage);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.job.getStatus()).isEqualTo(right);
    assertThat(cluster.annotation(JobRecord.ANNOTATION)).isEqualTo(record);
    assertThat(cluster.reconcile().remember()).isEmpty();
  }

  private void annotate(String damage) {
    int field = damage.indexOf('=');
    if (field < 0) {
      cluster.annotate(JobRecord.ANNOTATION, damage);
      return;
    }
    try {
      ObjectNode record = (ObjectNode) JSON.readTree(cluster.annotation(JobRecord.ANNOTATION));
      String[] path = damage.substring(0, field).split("\\.", 2);
      ObjectNode at = path.length == 1 ? record : (ObjectNode) record.path(path[0]);
      at.set(path[path.length - 1], JSON.readTree(damage.substring(field + 1)));
      cluster.annotate(JobRecord.ANNOTATION, record.toString());
    } catch (IOException e) {
      throw new IllegalArgumentException(damage, e);
    }
  }
}
