package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.api.GangAttempt;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.OperatorRuntime;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.PersistentVolumeClaimBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.Quantity;
import io.fabric8.kubernetes.api.model.ServiceBuilder;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import java.time.Clock;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Jobs that cannot work, on a real API server: each is told why in its status, and holds nothing.
 */
class BadInputIT {
  private static RealApi api;

  private final PodPlay play = new PodPlay(api.client());
  private final String namespace = api.namespace("bad");
  private OperatorRuntime operator;

  @BeforeAll
  static void start() {
    api = RealApi.orSkip();
  }

  @BeforeEach
  void operate() {
    operator =
        OperatorRuntime.start(
            api.client(),
            RealApi.options(
                namespace, (host, port) -> Optional.of(Story.training()), Clock.systemUTC()));
  }

  @AfterEach
  void stop() {
    operator.close();
  }

  @Test
  void jobsThatContinueFromEachOtherAreBothRefusedUntilOneBeginsElsewhere() {
    create("first", from("second"));
    awaitReason("first", "SourceMissing");
    create("second", from("first"));
    awaitReason("first", "SourceCircle");
    awaitReason("second", "SourceCircle");
    assertThat(ready("first").message())
        .startsWith("model.from: first continues from second continues from first");
    assertThat(holding("first")).containsExactly("Stalled");
    assertThat(pods("first")).isEmpty();
    assertThat(pods("second")).isEmpty();
    delete("second");
    create("second", job -> {});
    awaitReason("first", "WaitingForSource");
    awaitPods("second", 2);
    assertThat(holding("first")).containsExactly("Reconciling");
  }

  @Test
  void theYoungerOfTwoJobsWithOneOutputFolderWaitsUntilTheOlderIsGone() throws Exception {
    create("older", job -> {});
    awaitPods("older", 2);
    Thread.sleep(1100); // creation times are in seconds
    create("younger", job -> job.withObject("/spec/checkpoints").put("path", "./older/"));
    awaitReason("younger", "OutputPathTaken");
    assertThat(ready("younger").message()).contains("is the folder of older");
    assertThat(holding("younger")).containsExactly("Stalled");
    assertThat(pods("younger")).isEmpty();
    delete("older");
    awaitPods("younger", 2);
  }

  /** YAML and JSON can write it, and no file system. */
  @Test
  void aPathThatNoFileCanHaveStopsNobodyElsesJob() {
    create("odd", job -> job.withObject("/spec/checkpoints").put("path", "a\0b"));
    create("next", job -> {});
    awaitPods("next", 2);
    operator.close();
    operate();
    create("last", job -> {});
    awaitPods("last", 2);
  }

  @Test
  void aGpuCountThatNoNodeHasIsSaidWithTheLargestNodesAndFailsTheJobAtItsDeadline() {
    create(
        "huge",
        job -> {
          job.withObject("/spec/resources/limits").put("nvidia.com/gpu", "16");
          job.withObject("/spec/failurePolicy/deadlines").put("schedulingSeconds", 3);
        });
    awaitPods("huge", 2);
    pods("huge")
        .forEach(
            pod -> play.refuse(pod, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."));
    String shortage =
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. Each pod asks for nvidia.com/gpu:"
            + " 16, but the most that a node has is nvidia.com/gpu: 8; ask for less in resources,"
            + " or add a larger node.";
    awaitReason("huge", "InsufficientCapacity");
    assertThat(ready("huge").message()).isEqualTo("No node takes huge-0: " + shortage);
    awaitReason("huge", "SchedulingDeadline");
    assertThat(ready("huge").message()).contains("deadlines.schedulingSeconds").endsWith(shortage);
    awaitNoPods("huge");
  }

  @Test
  void anImageThatDoesNotExistIsSaidAndFailsTheJobAtItsDeadline() {
    create(
        "typo",
        job -> {
          job.withObject("/spec").put("image", "registry.invalid/trainer:typo");
          job.withObject("/spec/failurePolicy/deadlines").put("imagePullSeconds", 3);
        });
    awaitPods("typo", 2);
    pods("typo").forEach(play::bind);
    pods("typo").forEach(play::failToPull);
    awaitReason("typo", "ImagePull");
    assertThat(ready("typo").message())
        .contains("registry.invalid/trainer:typo", "ImagePullBackOff");
    awaitReason("typo", "ImagePullDeadline");
    assertThat(ready("typo").message()).contains("deadlines.imagePullSeconds", "ImagePullBackOff");
    assertThat(holding("typo")).containsExactlyInAnyOrder("Failed", "Stalled");
    awaitNoPods("typo");
  }

  @Test
  void whatANodeCannotSetUpIsReadFromThePodsEventsAndFailsTheJobAtItsDeadline() {
    create(
        "stuck",
        job -> job.withObject("/spec/failurePolicy/deadlines").put("imagePullSeconds", 20));
    awaitPods("stuck", 2);
    pods("stuck").forEach(play::bind);
    String said = "FailedMount: MountVolume.SetUp failed for volume \"x\" : not there";
    pods("stuck").forEach(pod -> play.warn(pod, "FailedMount", said.substring(13)));
    awaitReason("stuck", "PodSetup");
    assertThat(ready("stuck").message()).endsWith("does not get stuck-0 to start: " + said);
    assertThat(holding("stuck")).containsExactly("Reconciling");
    awaitReason("stuck", "ImagePullDeadline");
    assertThat(ready("stuck").message()).endsWith("deadlines.imagePullSeconds): " + said);
    awaitNoPods("stuck");
  }

  @Test
  void aNodeThatTurnsPodsAwayIsNamedAndUsesUpNoRestart() {
    create(
        "away",
        job ->
            job.withObject("/spec/failurePolicy").put("maxRestarts", 0).put("backoffSeconds", 1));
    for (int start = 1; start <= 2; start++) {
      awaitPods("away", 2);
      boolean first = start == 1;
      assertThat(pods("away"))
          .as("whether start %d prefers other nodes", start)
          .allMatch(pod -> (pod.getSpec().getAffinity() == null) == first);
      pods("away").forEach(play::bind);
      play.reject(
          pods("away").getFirst(),
          "UnexpectedAdmissionError",
          "Pod was rejected: Allocate failed due to no healthy devices present");
      int disruptions = start;
      await().until(() -> Integer.valueOf(disruptions).equals(status("away").disruptions()));
      assertThat(status("away").lastFailure().reason()).isEqualTo("Rejected");
      assertThat(status("away").lastFailure().message())
          .startsWith(
              "away-0 is lost (Rejected): node "
                  + RealApi.NODE
                  + " says UnexpectedAdmissionError: Pod was rejected: Allocate failed due to no"
                  + " healthy devices present");
      awaitNoPods("away");
    }
    assertThat(ready("away").message()).contains("cordon the node");
    assertThat(status("away").restarts()).isZero();
  }

  /** Claims and folders are the program's to try; the operator reads neither. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "cannot write to /perigee/checkpoints/job: read-only file system; checkpoints need a volume"
            + " that can be written",
        "model: there is no checkpoint in /perigee/model/step-00000100"
      })
  void whatNoRestartMendsFailsAtOnceWithTheProgramsOwnLine(String line) {
    api.client()
        .resource(
            new PersistentVolumeClaimBuilder()
                .withNewMetadata()
                .withName("read-only")
                .withNamespace(namespace)
                .endMetadata()
                .withNewSpec()
                .withAccessModes("ReadOnlyMany")
                .withNewResources()
                .withRequests(Map.of("storage", new Quantity("1Gi")))
                .endResources()
                .endSpec()
                .build())
        .create();
    create(
        "job",
        job ->
            job.withObject("/spec/checkpoints/volume/persistentVolumeClaim")
                .put("claimName", "read-only"));
    run("job");
    play.end(pods("job").getFirst(), 64, line);
    awaitReason("job", "BadConfig");
    assertThat(ready("job").message()).isEqualTo("job-0 exited with 64 (BadConfig): " + line);
    assertThat(status("job").restarts()).isZero();
    assertThat(holding("job")).containsExactlyInAnyOrder("Failed", "Stalled");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        """
        {"conditions": [{"type": "Complete", "status": "True", "reason": "Complete", "message": "",
         "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}]}\
        """,
        """
        {"conditions": [{"type": "Failed", "status": "True", "reason": "TooManyRestarts",
         "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}],
         "lastFailure": {"attempt": 2, "action": "Fail"}}\
        """,
        """
        {"attempt": {"number": 7, "formed": true}}\
        """,
        """
        {"attempt": {"number": 3, "formed": false}}\
        """,
        """
        {"attempt": {"number": 1}}\
        """,
        """
        {"attempt": {"number": null}}\
        """,
        """
        {"restarts": 99, "disruptions": 5, "lastFailure": null}\
        """,
        """
        {"restarts": 0}\
        """,
        """
        {"startTime": "2020-01-01T00:00:00Z"}\
        """,
        """
        {"layout": null, "attempt": null, "conditions": null, "observedGeneration": 99}\
        """,
        "null"
      })
  void aStatusEditedByHandIsSetBackAndMovesNoPod(String edit) {
    create(
        "edited",
        job -> {
          job.withObject("/spec").put("activeDeadlineSeconds", 3600);
          job.withObject("/spec/failurePolicy").put("backoffSeconds", 0);
        });
    run("edited");
    play.end(pods("edited").getFirst(), 137);
    await()
        .until(
            () -> {
              pods("edited").stream()
                  .filter(pod -> pod.getMetadata().getDeletionTimestamp() != null)
                  .forEach(play::letGo);
              return Integer.valueOf(2).equals(status("edited").attempt().number())
                  && pods("edited").stream().allMatch(pod -> "2".equals(generation(pod)))
                  && pods("edited").size() == 2;
            });
    run("edited");
    awaitReason("edited", "Training");
    PretrainJobStatus before = status("edited");
    assertThat(before.restarts()).isEqualTo(1);
    Map<String, String> uids = uids("edited");
    PretrainJob job = api.job(namespace, "edited");
    if (edit.equals("null")) {
      job.setStatus(null);
      job.getMetadata().setResourceVersion(null);
      api.client().resource(job).updateStatus();
    } else {
      api.client()
          .resource(job)
          .subresource("status")
          .patch(PatchContext.of(PatchType.JSON_MERGE), "{\"status\": " + edit + "}");
    }
    await().untilAsserted(() -> assertThat(meaning(status("edited"))).isEqualTo(meaning(before)));
    await().during(Duration.ofSeconds(1)).until(() -> uids("edited").equals(uids));
    assertThat(meaning(status("edited"))).isEqualTo(meaning(before));
  }

  /** Somebody's own, of a name that a job's objects would have; the last is left by an orphan. */
  @ParameterizedTest
  @ValueSource(strings = {"Service mine", "ConfigMap mine-attempt-1", "Pod mine-1"})
  void whatBelongsToOthersIsNeverTakenOverAndIsSaid(String theirs) {
    String[] named = theirs.split(" ", -1);
    HasMetadata object =
        switch (named[0]) {
          case "Service" ->
              new ServiceBuilder()
                  .withNewMetadata()
                  .withName(named[1])
                  .withNamespace(namespace)
                  .endMetadata()
                  .withNewSpec()
                  .withClusterIP("None")
                  .withSelector(Map.of("app", "web"))
                  .endSpec()
                  .build();
          case "ConfigMap" ->
              new ConfigMapBuilder()
                  .withNewMetadata()
                  .withName(named[1])
                  .withNamespace(namespace)
                  .endMetadata()
                  .addToData("a", "b")
                  .build();
          default ->
              new PodBuilder()
                  .withNewMetadata()
                  .withName(named[1])
                  .withNamespace(namespace)
                  .endMetadata()
                  .withNewSpec()
                  .addNewContainer()
                  .withName("web")
                  .withImage("web")
                  .endContainer()
                  .endSpec()
                  .build();
        };
    String version = api.client().resource(object).create().getMetadata().getResourceVersion();
    create("mine", job -> {});
    awaitReason("mine", "CreationRefused");
    assertThat(ready("mine").message())
        .isEqualTo(
            theirs
                + " is there already and does not belong to this job; delete it, or create the job"
                + " under another name");
    assertThat(api.client().resource(object).get().getMetadata().getResourceVersion())
        .isEqualTo(version);
    api.client().resource(object).withGracePeriod(0).delete();
    await().atMost(Duration.ofSeconds(40)).until(() -> pods("mine").size() == 2);
    awaitReason("mine", "Starting");
  }

  /** As {@code kubectl replace --force} does: the pods of the first are still there then. */
  @Test
  void aJobCreatedAnewTakesNothingOverFromTheOneOfItsNameThatWasDeleted() {
    create("again", job -> {});
    run("again");
    pods("again").forEach(pod -> play.end(pod, 0, "{\"phase\": \"Done\", \"step\": 600}"));
    await().until(() -> status("again").holds(ConditionType.Complete));
    List<String> first = List.copyOf(uids("again").values());
    delete("again");
    await().until(() -> api.job(namespace, "again") == null);
    create("again", job -> {});
    awaitReason("again", "Starting");
    assertThat(ready("again").message())
        .contains("what is left of an earlier job of this name", "Pod again-0", "Service again");
    assertThat(holding("again")).containsExactly("Reconciling");
    assertThat(uids("again").values()).containsExactlyElementsOf(first);
    collect("again"); // as the garbage collector does
    if (RealApi.servesPodGroups()) {
      awaitReason("again", "CreationRefused"); // what is not watched comes to light when written
      assertThat(ready("again").message())
          .isEqualTo(
              "PodGroup again-attempt-1 is left of an earlier job of this name; waits until the cluster has"
                  + " deleted it");
      assertThat(pods("again")).isEmpty();
      letGoOfGroup("again-attempt-1");
    }
    awaitPods("again", 2);
    assertThat(uids("again").values()).doesNotContainAnyElementsOf(first);
    assertThat(status("again").attempt().number()).isEqualTo(1);
    assertThat(status("again").holds(ConditionType.Complete)).isFalse();
  }

  private void collect(String name) {
    pods(name).forEach(pod -> api.client().resource(pod).withGracePeriod(0).delete());
    api.client().services().inNamespace(namespace).withName(name).delete();
    api.client().configMaps().inNamespace(namespace).withLabel("perigee.dev/job", name).delete();
    api.client().network().networkPolicies().inNamespace(namespace).withName(name).delete();
  }

  /**
   * As the garbage collector does, and the controller that keeps a group until its pods are gone.
   */
  private void letGoOfGroup(String name) {
    var group =
        api.client()
            .genericKubernetesResources("scheduling.k8s.io/v1alpha2", "PodGroup")
            .inNamespace(namespace)
            .withName(name);
    group.delete();
    if (group.get() != null) {
      group.edit(PodPlay::freed);
    }
  }

  private static String generation(Pod pod) {
    return pod.getMetadata().getLabels().get("perigee.dev/generation");
  }

  /** What a status says, without when it was said. */
  private static List<?> meaning(PretrainJobStatus status) {
    return Arrays.asList(
        status.observedGeneration(),
        status.conditions().stream()
            .map(
                c -> List.of(c.type(), c.status(), c.reason(), c.message(), c.observedGeneration()))
            .toList(),
        status.layout(),
        Optional.ofNullable(status.attempt()).map(GangAttempt::number),
        Optional.ofNullable(status.attempt()).map(GangAttempt::formed),
        status.restarts(),
        status.disruptions());
  }

  private static Consumer<ObjectNode> from(String other) {
    return job ->
        job.withObject("/spec/model").removeAll().withObject("from").put("pretrainJob", other);
  }

  private void create(String name, Consumer<ObjectNode> change) {
    api.createJob(namespace, name, change);
  }

  private void delete(String name) {
    api.client().resource(api.job(namespace, name)).delete();
  }

  private void run(String name) {
    play.runGang(namespace, name);
  }

  private List<Pod> pods(String name) {
    return play.pods(namespace, name);
  }

  private Map<String, String> uids(String name) {
    Map<String, String> uids = new TreeMap<>();
    pods(name).stream()
        .map(HasMetadata::getMetadata)
        .forEach(m -> uids.put(m.getName(), m.getUid()));
    return uids;
  }

  private void awaitPods(String name, int number) {
    await().until(() -> pods(name).size() == number);
  }

  private void awaitNoPods(String name) {
    await()
        .until(
            () -> {
              pods(name).stream()
                  .filter(pod -> pod.getMetadata().getDeletionTimestamp() != null)
                  .forEach(play::letGo);
              return pods(name).isEmpty();
            });
  }

  private PretrainJobStatus status(String name) {
    return Optional.ofNullable(api.job(namespace, name).getStatus())
        .orElse(PretrainJobStatus.EMPTY);
  }

  private Condition ready(String name) {
    return status(name).condition(ConditionType.Ready).orElseThrow();
  }

  private List<String> holding(String name) {
    return status(name).conditions().stream()
        .filter(Condition::holds)
        .map(Condition::type)
        .toList();
  }

  private void awaitReason(String name, String reason) {
    await()
        .untilAsserted(
            () ->
                assertThat(status(name).condition(ConditionType.Ready).map(Condition::reason))
                    .hasValue(reason));
  }
}
