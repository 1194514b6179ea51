package dev.perigee.operator;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.PretrainJob;
import dev.perigee.operator.gang.PodState;
import io.fabric8.kubernetes.api.model.ContainerBuilder;
import io.fabric8.kubernetes.api.model.ManagedFieldsEntryBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.client.utils.KubernetesSerialization;
import org.junit.jupiter.api.Test;

/** What the operator keeps of a pod that it reads. */
class LeanReadingTest {
  private static final Pod POD =
      new PodBuilder()
          .withNewMetadata()
          .withName("demo-0")
          .withUid("u")
          .addToLabels("perigee.dev/pod-index", "0")
          .addToLabels("perigee.dev/generation", "3")
          .addToAnnotations("perigee.dev/adopted-restarts", "1")
          .withManagedFields(new ManagedFieldsEntryBuilder().withManager("somebody").build())
          .endMetadata()
          .withNewSpec()
          .withNodeName("n1")
          .withTerminationGracePeriodSeconds(90L)
          .addNewContainer()
          .withName("trainer")
          .withImage("perigee-trainer")
          .addNewRestartPolicyRule()
          .withAction("Restart")
          .withNewExitCodes()
          .withOperator("In")
          .withValues(69)
          .endExitCodes()
          .endRestartPolicyRule()
          .endContainer()
          .addNewVolume()
          .withName("tmp")
          .endVolume()
          .addNewToleration()
          .withKey("gpu")
          .endToleration()
          .endSpec()
          .withNewStatus()
          .withPhase("Running")
          .withPodIP("10.0.0.1")
          .addNewContainerStatus()
          .withRestartCount(2)
          .withNewLastState()
          .withNewTerminated()
          .withExitCode(69)
          .endTerminated()
          .endLastState()
          .endContainerStatus()
          .endStatus()
          .build();

  private final KubernetesSerialization lean = LeanReading.serialization();

  @Test
  void aPodIsReadWithoutWhatTheOperatorNeverLooksAt() {
    Pod read = lean.unmarshal(new KubernetesSerialization().asJson(POD), Pod.class);
    assertThat(read.getSpec().getContainers())
        .containsExactly(
            new ContainerBuilder()
                .withName("trainer")
                .withRestartPolicyRules(
                    POD.getSpec().getContainers().getFirst().getRestartPolicyRules())
                .build());
    assertThat(read.getSpec().getVolumes()).isEmpty();
    assertThat(read.getSpec().getTolerations()).isEmpty();
    assertThat(read.getSpec().getAdditionalProperties()).isEmpty();
    assertThat(read.getMetadata().getManagedFields()).isEmpty();
    assertThat(PodState.of(read)).isEqualTo(PodState.of(POD));
  }

  /** Seen on a kubelet: without its rules a pod that is about to start again looked ended. */
  @Test
  void aContainerThatIsAboutToStartAgainIsKnown() {
    Pod ended =
        new PodBuilder(POD)
            .editStatus()
            .editFirstContainerStatus()
            .withNewState()
            .withNewTerminated()
            .withExitCode(69)
            .endTerminated()
            .endState()
            .endContainerStatus()
            .endStatus()
            .build();
    Pod read = lean.unmarshal(new KubernetesSerialization().asJson(ended), Pod.class);
    assertThat(PodState.of(read).container().returns()).isTrue();
    assertThat(PodState.of(read)).isEqualTo(PodState.of(ended));
  }

  @Test
  void aPodIsWrittenInFull() {
    assertThat(lean.asJson(POD)).isEqualTo(new KubernetesSerialization().asJson(POD));
  }

  /** Its operator was rolled back, say. One job that cannot be read would hide all others. */
  @Test
  void aJobOfANewerDefinitionIsReadAllTheSame() {
    PretrainJob job =
        lean.unmarshal(
            """
            apiVersion: perigee.dev/v1alpha1
            kind: PretrainJob
            metadata: {name: demo}
            news: 1
            spec:
              news: 1
              steps: 100
              compute: {backend: tpu, news: 1}
              failurePolicy: {rules: [{action: Ponder, podReasons: [Bored]}]}
            status:
              news: 1
              attempt: {number: 2, phase: Dreaming, news: 1}
              conditions: [{type: Ready, status: Perhaps, news: 1}]
            """,
            PretrainJob.class);
    assertThat(job.getSpec().steps()).isEqualTo(100);
    assertThat(job.getStatus().attempt().number()).isEqualTo(2);
  }
}
