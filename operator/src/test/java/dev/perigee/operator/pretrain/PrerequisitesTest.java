package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionReason;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.PretrainJobStatus.CheckpointReference;
import dev.perigee.api.VolumeSource;
import dev.perigee.operator.gang.GangAction;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Jobs that need other jobs, or stand in each other's way. */
class PrerequisitesTest {
  private static final VolumeSource WEIGHTS =
      new VolumeSource(new VolumeSource.ClaimSource("weights"), null);

  private final Map<String, PretrainJob> jobs = new TreeMap<>();
  private final Neighbours neighbours =
      new Neighbours() {
        @Override
        public Optional<PretrainJob> named(String name) {
          return Optional.ofNullable(jobs.get(name));
        }

        @Override
        public List<PretrainJob> writingTo(String output) {
          return jobs.values().stream().filter(j -> OutputPath.of(j).equals(output)).toList();
        }
      };

  @Test
  void aJobWaitsForItsSourceAndBeginsWithTheCheckpointThatItIsResolvedTo() {
    PretrainJob first = add(job("first", null));
    FakeCluster cluster = cluster(add(job("second", "first")));
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.reason()).isEqualTo("WaitingForSource");
    assertThat(cluster.holding()).containsExactly("Reconciling");
    assertThat(cluster.message()).contains("first");

    end(first, ConditionType.Complete, "first/step-00000100", "abc");
    cluster.reconcile();
    assertThat(cluster.job.getStatus().source())
        .as("remembered before it is used")
        .isEqualTo(
            new PretrainJobStatus.Source(
                "first",
                new CheckpointReference(100L, "first/step-00000100", WEIGHTS, "abc", 3.0)));
    assertThat(cluster.podNames()).isEmpty();
    Step step = cluster.reconcile();
    assertThat(cluster.podNames()).containsExactly("second-0", "second-1");
    var pod = ((GangAction.CreatePod) step.actions().getLast()).pod();
    assertThat(pod.getSpec().getVolumes())
        .filteredOn(v -> v.getName().equals("model"))
        .extracting(v -> v.getPersistentVolumeClaim().getClaimName())
        .containsExactly("weights");
    assertThat(pod.getSpec().getContainers().getFirst().getVolumeMounts())
        .filteredOn(m -> m.getName().equals("model"))
        .allMatch(m -> m.getReadOnly());
    assertThat(runJson(step)).contains("\"digest\" : \"abc\"", "model/first/step-00000100");
  }

  /** Somebody edited the source's status; it is written anew at the next look at that job. */
  @Test
  void aCheckpointThatLiesNowhereIsNotBegunWith() {
    PretrainJob first = add(job("first", null));
    end(first, ConditionType.Complete, null, "abc");
    FakeCluster cluster = cluster(add(job("second", "first")));
    cluster.reconcile();
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.reason()).isEqualTo("WaitingForSource");
    end(first, ConditionType.Complete, "first/step-00000100", "abc");
    cluster.reconcile();
    cluster.reconcile();
    assertThat(cluster.podNames()).hasSize(2);
  }

  @Test
  void whatAJobWasResolvedToStaysWhateverBecomesOfTheSource() {
    PretrainJob first = add(job("first", null));
    end(first, ConditionType.Complete, "first/step-00000100", "abc");
    FakeCluster cluster = cluster(add(job("second", "first")));
    cluster.reconcile();
    end(first, ConditionType.Complete, "first/step-00000200", "def");
    cluster.reconcile();
    jobs.remove("first");
    cluster.reconcile();
    assertThat(cluster.job.getStatus().source().checkpoint().digest()).isEqualTo("abc");
    assertThat(cluster.podNames()).hasSize(2);
  }

  @Test
  void whatAJobWasResolvedToOutlivesAWipedStatus() {
    PretrainJob first = add(job("first", null));
    end(first, ConditionType.Complete, "first/step-00000100", "abc");
    FakeCluster cluster = cluster(add(job("second", "first")));
    cluster.reconcile();
    cluster.reconcile();
    cluster.runAll();
    cluster.reconcile();
    end(first, ConditionType.Complete, "first/step-00000200", "def");
    cluster.job.setStatus(PretrainJobStatus.EMPTY);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.job.getStatus().source().checkpoint().digest()).isEqualTo("abc");
    assertThat(cluster.reason()).isEqualTo("Starting");
  }

  @Test
  void aJobWaitsUntilWhatIsLeftOfItsNamesakeIsDeleted() {
    FakeCluster cluster = cluster(add(job("again", null)));
    cluster.leftovers = List.of("Pod again-0", "Service again");
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.holding()).containsExactly("Reconciling");
    assertThat(cluster.message())
        .isEqualTo(
            "Waits until what is left of an earlier job of this name is deleted: Pod again-0,"
                + " Service again.");
    cluster.leftovers = List.of();
    cluster.reconcile();
    assertThat(cluster.podNames()).hasSize(2);
  }

  /** The API server takes no condition of more than 32768 characters. */
  @Test
  void ofThousandsThatAreLeftSomeAreNamed() {
    FakeCluster cluster = cluster(add(job("again", null)));
    cluster.leftovers =
        IntStream.range(0, 2000).mapToObj(i -> "Pod again-and-again-and-again-" + i).toList();
    cluster.reconcile();
    assertThat(cluster.message())
        .contains("Pod again-and-again-and-again-0, ")
        .endsWith(" and 1990 more.")
        .hasSizeLessThan(1000);
  }

  @Test
  void aSourceThatIsNotThereIsSaidAndWaitedFor() {
    FakeCluster cluster = cluster(add(job("second", "first")));
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("SourceMissing");
    assertThat(cluster.holding()).containsExactly("Stalled");
    assertThat(cluster.reconcile().lookAgain()).isPresent();
    add(job("first", null));
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("WaitingForSource");
    assertThat(cluster.events)
        .extracting(Transition::reason)
        .containsExactly("SourceMissing", "WaitingForSource");
  }

  @Test
  void aSourceThatFailedIsSaid() {
    PretrainJob first = add(job("first", null));
    end(first, ConditionType.Failed, "first/step-00000050", "abc");
    FakeCluster cluster = cluster(add(job("second", "first")));
    cluster.reconcile();
    assertThat(cluster.reason()).isEqualTo("SourceFailed");
  }

  @Test
  void jobsThatContinueFromEachOtherAreRefusedWithTheirNames() {
    add(job("a", "b"));
    add(job("b", "c"));
    add(job("c", "a"));
    for (String name : List.of("a", "b", "c")) {
      FakeCluster cluster = cluster(jobs.get(name));
      assertThat(cluster.reconcile().actions()).isEmpty();
      assertThat(cluster.reason()).isEqualTo("SourceCircle");
      assertThat(cluster.holding()).containsExactly("Stalled");
    }
    FakeCluster self = cluster(add(job("me", "me")));
    self.reconcile();
    assertThat(self.message()).startsWith("model.from: me continues from me;");
    FakeCluster outside = cluster(add(job("d", "a")));
    outside.reconcile();
    assertThat(outside.reason()).as("not in the circle").isEqualTo("WaitingForSource");
  }

  @Test
  void theSecondOfTwoJobsWithOneFolderIsRefusedUntilTheFirstIsGone() {
    PretrainJob first = add(job("first", null));
    first.getMetadata().setCreationTimestamp("2026-01-01T00:00:00Z");
    PretrainJob other = Jobs.with(job("other", null), "/checkpoints/path", "./first/");
    other.getMetadata().setCreationTimestamp("2026-01-01T00:00:01Z");
    FakeCluster second = cluster(add(other));
    assertThat(second.reconcile().actions()).isEmpty();
    assertThat(second.reason()).isEqualTo("OutputPathTaken");
    assertThat(second.message()).contains("first");
    assertThat(cluster(first).reconcile().actions()).isNotEmpty();
    jobs.remove("first");
    second.reconcile();
    assertThat(second.podNames()).hasSize(2);
  }

  @Test
  void aJobThatRunsIsNotHeldUp() {
    PretrainJob job = add(job("young", null));
    job.getMetadata().setCreationTimestamp("2026-01-01T00:00:05Z");
    FakeCluster cluster = cluster(job);
    cluster.reconcile();
    cluster.runAll();
    cluster.reconcile();
    PretrainJob old = Jobs.with(job("old", null), "/checkpoints/path", "young");
    old.getMetadata().setCreationTimestamp("2026-01-01T00:00:00Z");
    add(old);
    assertThat(cluster.reconcile().actions()).isEmpty();
    assertThat(cluster.reason()).isEqualTo("Starting");
  }

  @Test
  void theSameFolderOnAnotherVolumeIsAnotherFolder() {
    PretrainJob a = job("same", null);
    PretrainJob b =
        Jobs.with(a, "/checkpoints/volume", "{persistentVolumeClaim: {claimName: more}}");
    assertThat(OutputPath.of(a)).isNotEqualTo(OutputPath.of(b));
    PretrainJob host = Jobs.with(a, "/checkpoints/volume", "{hostPath: {path: /data/}}");
    PretrainJob deep = Jobs.with(a, "/checkpoints/volume", "{hostPath: {path: /data/x/..}}");
    assertThat(OutputPath.of(host)).isEqualTo(OutputPath.of(deep));
  }

  @Test
  void howAPathIsWrittenMakesNoOtherFolder() {
    PretrainJob plain = Jobs.with(job("a", null), "/checkpoints/path", "runs/first");
    for (String path : new String[] {"./runs/first", "runs//first/", "runs/./first/."}) {
      assertThat(OutputPath.of(Jobs.with(plain, "/checkpoints/path", path)))
          .as(path)
          .isEqualTo(OutputPath.of(plain));
    }
    assertThat(OutputPath.of(Jobs.with(plain, "/checkpoints/path", "runs/second")))
        .isNotEqualTo(OutputPath.of(plain));
    PretrainJob above = Jobs.with(plain, "/checkpoints/volume", "{hostPath: {path: /../data}}");
    PretrainJob data = Jobs.with(plain, "/checkpoints/volume", "{hostPath: {path: /data}}");
    assertThat(OutputPath.of(above)).isEqualTo(OutputPath.of(data));
  }

  /** A newer definition may know more kinds of volumes. */
  @Test
  void aVolumeOfAnotherKindHoldsTheJobsOwnFolder() {
    PretrainJob a = Jobs.with(job("a", null), "/checkpoints/volume", "{}");
    PretrainJob b = Jobs.with(job("b", null), "/checkpoints/volume", "{}");
    assertThat(OutputPath.of(a)).isNotEqualTo(OutputPath.of(b));
  }

  /** All jobs are looked up by it: one with a path that no file can have must not stop that. */
  @Test
  void aPathThatNoFileCanHaveIsAFolderLikeAnyOther() {
    PretrainJob odd = Jobs.with(job("a", null), "/checkpoints/path", "\"runs\\0first\"");
    assertThat(OutputPath.of(odd)).isNotEqualTo(OutputPath.of(job("a", null)));
  }

  private FakeCluster cluster(PretrainJob job) {
    FakeCluster cluster = new FakeCluster(job);
    cluster.neighbours = neighbours;
    return cluster;
  }

  private PretrainJob add(PretrainJob job) {
    jobs.put(job.getMetadata().getName(), job);
    return job;
  }

  private static PretrainJob job(String name, String from) {
    PretrainJob job = Jobs.small();
    job.getMetadata().setName(name);
    job.getMetadata().setUid("uid-of-" + name);
    return from == null ? job : Jobs.with(job, "/model/from", "{pretrainJob: " + from + "}");
  }

  private static void end(PretrainJob job, ConditionType how, String path, String digest) {
    CheckpointReference checkpoint = new CheckpointReference(100L, path, WEIGHTS, digest, 3.0);
    Condition condition =
        new Condition(
            how.name(),
            Condition.Status.True,
            how == ConditionType.Complete
                ? ConditionReason.Complete.name()
                : ConditionReason.BadConfig.name(),
            "",
            "2026-01-01T00:00:00Z",
            1);
    job.setStatus(
        new PretrainJobStatus(
            1L,
            List.of(condition),
            null,
            null,
            null,
            null,
            null,
            null,
            null,
            checkpoint,
            null,
            null,
            null));
  }

  private static String runJson(Step step) {
    return step.actions().stream()
        .filter(GangAction.CreateConfigMap.class::isInstance)
        .map(a -> ((GangAction.CreateConfigMap) a).configMap().getData().get("run.json"))
        .findFirst()
        .orElseThrow();
  }
}
