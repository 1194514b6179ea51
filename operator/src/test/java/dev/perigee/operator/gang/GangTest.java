package dev.perigee.operator.gang;

import static org.assertj.core.api.Assertions.assertThat;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.ServiceBuilder;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class GangTest {
  private static final Service SERVICE =
      new ServiceBuilder()
          .withNewMetadata()
          .withName("demo")
          .endMetadata()
          .withNewSpec()
          .withClusterIP("None")
          .endSpec()
          .build();
  private static final ConfigMap CONFIG =
      new ConfigMapBuilder()
          .withNewMetadata()
          .withName("demo")
          .endMetadata()
          .addToData("run.json", "{}")
          .build();

  @Test
  void theFirstStartAppliesThenCreates() {
    assertThat(start(plan(1), ObservedGang.NOTHING))
        .containsExactly(
            new GangAction.ApplyService(SERVICE),
            new GangAction.CreateConfigMap(CONFIG),
            new GangAction.CreatePod(pod(0, 1)),
            new GangAction.CreatePod(pod(1, 1)));
  }

  @Test
  void nothingIsDoneWhenAllIsThereWhateverTheServerAdded() {
    Service added = new ServiceBuilder(SERVICE).editSpec().withType("ClusterIP").endSpec().build();
    assertThat(start(plan(1), observed(added, CONFIG, state(0, 1), state(1, 1)))).isEmpty();
  }

  @Test
  void theConfigMapOfAnEarlierStartGoes() {
    ConfigMap old =
        new ConfigMapBuilder(CONFIG).editMetadata().withName("old").endMetadata().build();
    assertThat(start(plan(1), observed(SERVICE, old, state(0, 1), state(1, 1))))
        .containsExactly(
            new GangAction.DeleteConfigMap("old"), new GangAction.CreateConfigMap(CONFIG));
  }

  @Test
  void podsOfAnEarlierStartGoBeforeAnythingElseHappens() {
    assertThat(start(plan(2), observed(SERVICE, CONFIG, state(0, 1), state(1, 1))))
        .containsExactly(
            new GangAction.DeletePod("demo-0", "uid-0", null),
            new GangAction.DeletePod("demo-1", "uid-1", null));
  }

  @Test
  void theEndLeavesEndedPodsWithTheirLogs() {
    PodState ended = PodState.of(ended(pod(0, 1), 1));
    assertThat(Gang.finish(observed(SERVICE, CONFIG, ended, state(1, 1))))
        .as("nothing can be saved without the one that failed")
        .containsExactly(new GangAction.DeletePod("demo-1", "uid-1", Gang.GOODBYE_SECONDS));
  }

  private static List<GangAction> start(GangPlan plan, ObservedGang observed) {
    Roster roster = Roster.of(plan.generation(), 2, observed, pod -> false, Optional.empty());
    return Gang.start(plan, observed, pod -> false, roster, false);
  }

  private static GangPlan plan(int generation) {
    return new GangPlan(
        generation,
        SERVICE,
        CONFIG,
        Optional.empty(),
        List.of(pod(0, generation), pod(1, generation)));
  }

  private static ObservedGang observed(Service service, ConfigMap configMap, PodState... pods) {
    return new ObservedGang(
        Optional.of(service), Optional.empty(), List.of(configMap), List.of(pods));
  }

  private static PodState state(int index, int generation) {
    return PodState.of(pod(index, generation));
  }

  private static Pod pod(int index, int generation) {
    return new PodBuilder()
        .withNewMetadata()
        .withName("demo-" + index)
        .withUid("uid-" + index)
        .addToLabels(GangLabels.POD_INDEX, Integer.toString(index))
        .addToLabels(GangLabels.GENERATION, Integer.toString(generation))
        .endMetadata()
        .build();
  }

  static Pod ended(Pod pod, int exitCode) {
    return new PodBuilder(pod)
        .withNewStatus()
        .withPhase("Running")
        .addNewContainerStatus()
        .withNewState()
        .withNewTerminated()
        .withExitCode(exitCode)
        .withMessage("said")
        .withFinishedAt("2026-01-01T00:00:00Z")
        .endTerminated()
        .endState()
        .endContainerStatus()
        .endStatus()
        .build();
  }
}
