package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.api.PretrainJob;
import dev.perigee.run.Mesh;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import io.fabric8.kubernetes.api.model.EnvVar;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.VolumeMount;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class PretrainPlanTest {
  private static final String IMAGE = "perigee-trainer:test";

  static Stream<Path> examples() throws IOException {
    try (Stream<Path> files = Files.list(Path.of("..", "examples"))) {
      return files.filter(f -> f.toString().endsWith(".yaml")).sorted().toList().stream();
    }
  }

  @ParameterizedTest
  @MethodSource("examples")
  void everyExampleCanWork(Path file) throws IOException {
    for (PretrainJob job : Jobs.in(file)) {
      job.getMetadata().setNamespace("default");
      assertThat(PretrainPlan.of(job, 1, IMAGE)).isInstanceOf(PretrainPlan.Workable.class);
    }
  }

  @Test
  void theExampleWithPackedExpertGroupsPutsEachGroupOnOneHost() throws IOException {
    PretrainJob job = Jobs.in(Path.of("..", "examples", "packed.yaml")).getFirst();
    job.getMetadata().setNamespace("default");
    List<Pod> pods = workable(job, 1).gang().pods();
    assertThat(pods)
        .extracting(pod -> pod.getMetadata().getLabels().get("perigee.dev/expert-group"))
        .containsExactly("0", "0", "1", "1");
    assertThat(pods)
        .allSatisfy(
            pod ->
                assertThat(
                        pod.getSpec()
                            .getAffinity()
                            .getPodAffinity()
                            .getRequiredDuringSchedulingIgnoredDuringExecution())
                    .singleElement()
                    .satisfies(
                        term -> {
                          assertThat(term.getTopologyKey()).isEqualTo("kubernetes.io/hostname");
                          assertThat(term.getMatchLabelKeys())
                              .containsExactly("perigee.dev/expert-group");
                        }));
  }

  @Test
  void ranksFillPodsInOrderAndPeersAreNamedThroughTheService() {
    PretrainPlan.Workable plan = workable(Jobs.small(), 3);
    assertThat(plan.run().mesh()).isEqualTo(new Mesh(1, 4, 4, 2));
    assertThat(plan.ranks())
        .isEqualTo(
            new RankMap(
                3,
                List.of(
                    new RankMap.Pod(0, "demo-0.demo.lab.svc", null, List.of(0, 1)),
                    new RankMap.Pod(1, "demo-1.demo.lab.svc", null, List.of(2, 3)))));
    assertThat(plan.layout().pods()).isEqualTo(2);
    assertThat(plan.layout().rankMapDigest()).hasSize(64);
  }

  @Test
  void theConfigMapHoldsWhatAProgramReads() throws JsonProcessingException {
    PretrainPlan.Workable plan = workable(Jobs.small(), 1);
    ObjectMapper strict = new ObjectMapper();
    var data = plan.gang().configMap().getData();
    assertThat(strict.readValue(data.get("run.json"), RunConfig.class)).isEqualTo(plan.run());
    assertThat(strict.readValue(data.get("ranks.json"), RankMap.class)).isEqualTo(plan.ranks());
    assertThat(plan.run().checkpoint().directory()).isEqualTo("checkpoints/demo");
    assertThat(plan.run().problems()).isEmpty();
  }

  @Test
  void aStepToTraceGoesToTheProgramsWhichRefuseOneThatNeverComes() {
    RunConfig run = workable(Jobs.with(Jobs.small(), "/trace", "{step: 7}"), 1).run();
    assertThat(run.trace()).isEqualTo(new RunConfig.Trace(7));
    assertThat(workable(Jobs.small(), 1).run().trace()).isNull();
    for (long never : new long[] {0, run.steps() + 1}) {
      assertThat(run.with(new RunConfig.Trace(never)).problems())
          .containsExactly(
              "trace.step: %d is not one of the %d steps; expected 1 to %d"
                  .formatted(never, run.steps(), run.steps()));
    }
  }

  @Test
  void tokensBecomeStepsRoundedUp() {
    PretrainJob job = Jobs.with(Jobs.with(Jobs.small(), "/steps", "null"), "/tokens", "10000");
    assertThat(workable(job, 1).run().steps()).isEqualTo(10);
  }

  @Test
  void podsSatisfyTheRestrictedStandardAndBelongToTheJob() {
    Pod pod = workable(Jobs.small(), 2).gang().pods().get(1);
    var container = pod.getSpec().getContainers().getFirst();
    assertThat(pod.getMetadata().getName()).isEqualTo("demo-1");
    assertThat(pod.getMetadata().getLabels())
        .containsEntry("perigee.dev/job", "demo")
        .containsEntry("perigee.dev/kind", "PretrainJob")
        .containsEntry("perigee.dev/pod-index", "1")
        .containsEntry("perigee.dev/generation", "2");
    assertThat(pod.getMetadata().getOwnerReferences().getFirst().getUid()).isEqualTo("u-1");
    assertThat(pod.getMetadata().getOwnerReferences().getFirst().getBlockOwnerDeletion()).isTrue();
    assertThat(pod.getSpec().getRestartPolicy()).isEqualTo("Never");
    assertThat(pod.getSpec().getHostname()).isEqualTo("demo-1");
    assertThat(pod.getSpec().getSubdomain()).isEqualTo("demo");
    assertThat(pod.getSpec().getSecurityContext().getRunAsNonRoot()).isTrue();
    assertThat(pod.getSpec().getSecurityContext().getSeccompProfile().getType())
        .isEqualTo("RuntimeDefault");
    assertThat(container.getSecurityContext().getAllowPrivilegeEscalation()).isFalse();
    assertThat(container.getSecurityContext().getReadOnlyRootFilesystem()).isTrue();
    assertThat(container.getSecurityContext().getCapabilities().getDrop()).containsExactly("ALL");
    assertThat(container.getImage()).isEqualTo(IMAGE);
    assertThat(container.getEnv())
        .extracting(EnvVar::getName)
        .contains("PERIGEE_POD_INDEX", "PERIGEE_POD_IP");
    assertThat(container.getVolumeMounts())
        .extracting(VolumeMount::getMountPath)
        .containsExactly("/perigee/run", "/perigee/peers", "/perigee/checkpoints", "/tmp");
  }

  @Test
  void dataTokenizerAndModelVolumesAreMountedReadOnlyWhereTheRunConfigurationSaysThem() {
    PretrainJob job =
        Jobs.with(
            Jobs.with(
                Jobs.small(),
                "/data",
                "[{name: books, volume: {hostPath: {path: /srv}}, path: a.jsonl}]"),
            "/model/checkpoint",
            "{volume: {hostPath: {path: /models}}, path: base}");
    job =
        Jobs.with(
            job,
            "/tokenizer",
            "{kind: tiktoken, volume: {hostPath: {path: /models}}, path: tiktoken.model}");
    PretrainPlan.Workable plan = workable(job, 1);
    assertThat(plan.run().data().getFirst().path()).isEqualTo("data/books/a.jsonl");
    assertThat(plan.run().model().from()).isEqualTo("model/base");
    assertThat(plan.run().tokenizer().path()).isEqualTo("tokenizer/tiktoken.model");
    assertThat(plan.gang().pods().getFirst().getSpec().getContainers().getFirst().getVolumeMounts())
        .filteredOn(VolumeMount::getReadOnly, true)
        .extracting(VolumeMount::getMountPath)
        .containsExactly(
            "/perigee/run",
            "/perigee/peers",
            "/perigee/data/books",
            "/perigee/tokenizer",
            "/perigee/model");
  }

  @Test
  void overridesArePassedThrough() {
    PretrainJob job =
        Jobs.with(
            Jobs.small(),
            "/podOverrides",
            """
            labels: {team: a}
            annotations: {note: b}
            env: [{name: JAVA_OPTS, value: "-Xmx1g"}]
            nodeSelector: {gpu: h100}
            tolerations: [{key: gpu, operator: Exists}]
            serviceAccountName: sa
            priorityClassName: high
            runtimeClassName: gvisor
            schedulerName: other
            imagePullSecrets: [{name: s}]
            identity: {user: 7, group: 8, volumeGroup: 9}
            terminationGracePeriodSeconds: 33
            """);
    Pod pod = workable(job, 1).gang().pods().getFirst();
    assertThat(pod.getMetadata().getLabels()).containsEntry("team", "a");
    assertThat(pod.getMetadata().getAnnotations()).containsEntry("note", "b");
    var spec = pod.getSpec();
    assertThat(spec.getContainers().getFirst().getEnv().getFirst().getName())
        .isEqualTo("JAVA_OPTS");
    assertThat(spec.getNodeSelector()).containsEntry("gpu", "h100");
    assertThat(spec.getTolerations().getFirst().getKey()).isEqualTo("gpu");
    assertThat(spec.getServiceAccountName()).isEqualTo("sa");
    assertThat(spec.getPriorityClassName()).isEqualTo("high");
    assertThat(spec.getRuntimeClassName()).isEqualTo("gvisor");
    assertThat(spec.getSchedulerName()).isEqualTo("other");
    assertThat(spec.getImagePullSecrets().getFirst().getName()).isEqualTo("s");
    assertThat(spec.getSecurityContext().getRunAsUser()).isEqualTo(7);
    assertThat(spec.getSecurityContext().getRunAsGroup()).isEqualTo(8);
    assertThat(spec.getSecurityContext().getFsGroup()).isEqualTo(9);
    assertThat(spec.getTerminationGracePeriodSeconds()).isEqualTo(33);
  }

  @Test
  void aMeshThatDoesNotDivideNamesTheNearestLayouts() {
    PretrainJob job = Jobs.with(Jobs.small(), "/parallelism/expert", "3");
    var plan = (PretrainPlan.Impossible) PretrainPlan.of(job, 1, IMAGE);
    assertThat(plan.problems())
        .anyMatch(p -> p.startsWith("parallelism.expert: 3 does not divide data 4"))
        .last()
        .asString()
        .startsWith("parallelism: the nearest layouts that work: data 4, expert 4, ranksPerPod 2;");
  }

  @Test
  void weightsThatFillMoreThanTheMemoryAskedForAreRefusedWithTheNearestLayouts() {
    PretrainJob job = Jobs.with(Jobs.small(), "/resources", "{\"limits\": {\"memory\": \"16Mi\"}}");
    var plan = (PretrainPlan.Impossible) PretrainPlan.of(job, 1, IMAGE);
    assertThat(plan.problems().getFirst())
        .startsWith("parallelism: weights, gradients and optimizer state need ")
        .endsWith(" on a rank of stage 0, which has 8.39 MB");
  }

  @Test
  void theStatusSaysWhatTheFullestRankWillNeed() {
    var estimate = workable(Jobs.small(), 1).layout().estimate();
    assertThat(estimate.memoryPerRank()).endsWith(" MB");
    assertThat(estimate.memory().parameters()).isEqualTo(estimate.memory().gradients() + 64);
    assertThat(estimate.bubbleShare()).isZero();
    assertThat(estimate.stepSeconds()).isNull();
    assertThat(estimate.tooMuch()).isNull();
    assertThat(estimate.memoryLimit()).isNull();
    assertThat(estimate.traffic().expertBytes()).isPositive();
    assertThat(estimate.traffic().expertsHidden()).isZero(); // nothing overlaps
    assertThat(estimate.traffic().pipelineBytes()).isZero();
  }

  @Test
  void theStatusIsTheShortFormOfThePlanForKimiK2() throws IOException {
    PretrainJob k2 = Jobs.in(Path.of("..", "examples", "plans", "kimi-k2.yaml")).getFirst();
    k2.getMetadata().setNamespace("default");
    var layout = workable(k2, 1).layout();
    assertThat(layout.totalParameters()).isEqualTo(1_026_408_232_448L);
    var estimate = layout.estimate();
    assertThat(estimate.memory().parameters() + estimate.memory().gradients())
        .isBetween(27_000_000_000L, 29_000_000_000L);
    assertThat(estimate.memoryLimit()).isEqualTo(81_559L << 20);
    assertThat(estimate.flopsPerToken()).isEqualTo(6.85e10);
    assertThat(estimate.traffic().expertsHidden()).isBetween(0.99, 1.0);
    // Of each of two chunks: one micro-batch's activations there, and their gradient back.
    assertThat(estimate.traffic().pipelineBytes()).isEqualTo(2.41e11);
    assertThat(estimate.stepSeconds()).isBetween(100.0, 130.0);
    assertThat(estimate.checkpointBytes()).isEqualTo(8.22e12);
    assertThat(estimate.checkpointSeconds()).isEqualTo(257.0);
  }

  @Test
  void aJobNameOfSixtyThreeCharactersGivesPodNamesThatFit() {
    String longest = "a".repeat(62) + "b";
    String other = "a".repeat(62) + "c";
    assertThat(JobNames.pod(longest, 10, 11)).hasSize(63).endsWith("-10");
    assertThat(JobNames.pod(longest, 1, 11)).hasSizeLessThan(64).endsWith("-1");
    assertThat(JobNames.pod(longest, 0, 2)).isNotEqualTo(JobNames.pod(other, 0, 2));
    assertThat(JobNames.pod("a".repeat(61), 0, 2)).isEqualTo("a".repeat(61) + "-0");
  }

  @Test
  void aNameThatIsNoServiceNameIsRefused() {
    PretrainJob job = Jobs.small();
    job.getMetadata().setName("7b.demo");
    assertThat(((PretrainPlan.Impossible) PretrainPlan.of(job, 1, IMAGE)).problems())
        .singleElement()
        .asString()
        .startsWith("metadata.name: 7b.demo is not a DNS label");
  }

  private static PretrainPlan.Workable workable(PretrainJob job, int generation) {
    return (PretrainPlan.Workable) PretrainPlan.of(job, generation, IMAGE);
  }
}
