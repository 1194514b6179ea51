package dev.perigee.operator.placement;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.SchedulingSpec;
import dev.perigee.api.SchedulingSpec.Adapter;
import dev.perigee.api.SchedulingSpec.ExpertGroups.Mode;
import dev.perigee.operator.gang.GangLabels;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.ObjectMetaBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.PodSchedulingGate;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PlacementTest {
  private static final ObjectMeta GROUP =
      new ObjectMetaBuilder().withName("demo-attempt-3").withNamespace("lab").build();

  /** Eight pods, expert groups of two pods each. */
  private static final PodGang PLAIN = gang(null);

  private static final PodGang RACKS = gang(Mode.Required);

  @ParameterizedTest
  @CsvSource({
    // expert, ranksPerPod, pods of a group
    "1,1,1",
    "4,8,1",
    "8,8,1",
    "16,8,2",
    "384,8,48",
    "2,1,2",
    "6,4,3",
  })
  void anExpertGroupSpansAsManyPodsAsItTakesForBothToEndTogether(
      int expert, int ranksPerPod, int pods) {
    assertThat(PodGang.expertGroupPods(expert, ranksPerPod)).isEqualTo(pods);
  }

  @Test
  void neighbouringPodsShareAnExpertGroupsLabel() {
    assertThat(
            IntStream.range(0, 8)
                .mapToObj(i -> ExpertGroups.label(pod(i), i, PLAIN))
                .map(p -> p.getMetadata().getLabels().get(GangLabels.EXPERT_GROUP)))
        .containsExactly("0", "0", "1", "1", "2", "2", "3", "3");
  }

  @Test
  void anExpertGroupIsKeptInOneDomainByAffinityToItsLabel() {
    Pod pod = place(new Unmanaged(), 5, RACKS);
    assertThat(
            pod.getSpec()
                .getAffinity()
                .getPodAffinity()
                .getRequiredDuringSchedulingIgnoredDuringExecution())
        .singleElement()
        .satisfies(
            term -> {
              assertThat(term.getTopologyKey()).isEqualTo("example.com/rack");
              assertThat(term.getLabelSelector().getMatchLabels())
                  .isEqualTo(Map.of(GangLabels.KIND, "PretrainJob", GangLabels.JOB, "demo"));
              assertThat(term.getMatchLabelKeys()).containsExactly(GangLabels.EXPERT_GROUP);
            });
    Pod preferred = place(new Unmanaged(), 5, gang(Mode.Preferred));
    var affinity = preferred.getSpec().getAffinity().getPodAffinity();
    assertThat(affinity.getRequiredDuringSchedulingIgnoredDuringExecution()).isEmpty();
    assertThat(affinity.getPreferredDuringSchedulingIgnoredDuringExecution()).hasSize(1);
  }

  @Test
  void anExpertGroupWithinOnePodNeedsNoAffinity() {
    PodGang within = new PodGang(GROUP, 8, 1, RACKS.scheduling(), null);
    assertThat(place(new Unmanaged(), 0, within).getSpec().getAffinity()).isNull();
    assertThat(place(new Unmanaged(), 0, PLAIN).getSpec().getAffinity()).isNull();
  }

  @Test
  void kueueGetsAGatedGroupThatIsNotRetriedPodByPod() {
    KueuePlacement kueue = new KueuePlacement("v1beta2");
    Pod pod = place(kueue, 7, PLAIN);
    assertThat(pod.getMetadata().getLabels())
        .containsEntry("kueue.x-k8s.io/queue-name", "team-a")
        .containsEntry("kueue.x-k8s.io/pod-group-name", "demo-attempt-3");
    assertThat(pod.getMetadata().getAnnotations())
        .containsEntry("kueue.x-k8s.io/pod-group-total-count", "8")
        .containsEntry("kueue.x-k8s.io/pod-group-pod-index-label", GangLabels.POD_INDEX)
        .containsEntry("kueue.x-k8s.io/retriable-in-group", "false")
        .containsEntry("mine", "stays");
    assertThat(pod.getSpec().getSchedulingGates())
        .extracting(PodSchedulingGate::getName)
        .containsExactly("kueue.x-k8s.io/admission");
    assertThat(kueue.group(PLAIN)).isEmpty();
    assertThat(kueue.held("demo-attempt-3"))
        .contains(new Placement.Held("kueue.x-k8s.io/v1beta2", "workloads", "demo-attempt-3"));
  }

  @Test
  void kueueIsToldOfExpertGroupsBecauseItMustNotAdmitWhatDoesNotFit() {
    Pod pod = place(new KueuePlacement("v1beta2"), 7, RACKS);
    assertThat(pod.getSpec().getAffinity()).isNull();
    assertThat(pod.getMetadata().getAnnotations())
        .containsEntry("kueue.x-k8s.io/podset-slice-required-topology", "example.com/rack")
        .containsEntry("kueue.x-k8s.io/podset-slice-size", "2");
    Pod preferred = place(new KueuePlacement("v1beta2"), 7, gang(Mode.Preferred));
    assertThat(preferred.getSpec().getAffinity()).isNotNull();
    assertThat(preferred.getMetadata().getAnnotations())
        .doesNotContainKey("kueue.x-k8s.io/podset-slice-size");
  }

  /** Kueue takes pods of different specifications for different roles, of which it allows eight. */
  @ParameterizedTest
  @CsvSource({"Required", "Preferred"})
  void allPodsOfAGangHaveTheSameSpecificationForTheirScheduler(Mode mode) {
    for (Placement placement :
        List.of(
            new Unmanaged(),
            new KueuePlacement("v1beta2"),
            new VolcanoPlacement(),
            new PodGroupPlacement("v1alpha2"))) {
      assertThat(
              IntStream.range(0, 8)
                  .mapToObj(i -> place(placement, i, gang(mode)).getSpec())
                  .distinct())
          .hasSize(1);
    }
  }

  @Test
  void volcanoGetsAPodGroupOfAllPods() {
    VolcanoPlacement volcano = new VolcanoPlacement();
    PodGang important =
        new PodGang(GROUP, 8, 2, new SchedulingSpec(Adapter.Volcano, "team-a", null), "urgent");
    assertThat(volcano.group(important))
        .hasValueSatisfying(
            group -> {
              assertThat(group.getKind()).isEqualTo("PodGroup");
              assertThat(group.getMetadata()).isEqualTo(GROUP);
              assertThat(group.getAdditionalProperties().get("spec"))
                  .isEqualTo(
                      Map.of("minMember", 8, "queue", "team-a", "priorityClassName", "urgent"));
            });
    Pod pod = place(volcano, 0, important);
    assertThat(pod.getSpec().getSchedulerName()).isEqualTo("volcano");
    assertThat(pod.getMetadata().getAnnotations())
        .containsEntry("scheduling.k8s.io/group-name", "demo-attempt-3");
    Pod named =
        volcano.place(
            new PodBuilder(pod(0)).editSpec().withSchedulerName("mine").endSpec().build(),
            important);
    assertThat(named.getSpec().getSchedulerName()).isEqualTo("mine");
  }

  @Test
  void theClustersOwnSchedulerGetsAPodGroupOfAllPods() {
    PodGroupPlacement own = new PodGroupPlacement("v1alpha2");
    assertThat(own.group(PLAIN))
        .hasValueSatisfying(
            group -> {
              assertThat(group.getApiVersion()).isEqualTo("scheduling.k8s.io/v1alpha2");
              assertThat(group.getAdditionalProperties().get("spec"))
                  .isEqualTo(Map.of("schedulingPolicy", Map.of("gang", Map.of("minCount", 8))));
            });
    assertThat(place(own, 0, PLAIN).getSpec().getAdditionalProperties())
        .containsEntry("schedulingGroup", Map.of("podGroupName", "demo-attempt-3"));
  }

  private static Pod place(Placement placement, int index, PodGang gang) {
    return placement.place(ExpertGroups.label(pod(index), index, gang), gang);
  }

  private static PodGang gang(Mode mode) {
    SchedulingSpec.ExpertGroups wish =
        mode == null ? null : new SchedulingSpec.ExpertGroups("example.com/rack", mode);
    return new PodGang(GROUP, 8, 2, new SchedulingSpec(Adapter.Kueue, "team-a", wish), null);
  }

  private static Pod pod(int index) {
    return new PodBuilder()
        .withNewMetadata()
        .withName("demo-" + index)
        .addToLabels(GangLabels.KIND, "PretrainJob")
        .addToLabels(GangLabels.JOB, "demo")
        .addToLabels(GangLabels.POD_INDEX, Integer.toString(index))
        .addToAnnotations("mine", "stays")
        .endMetadata()
        .withNewSpec()
        .endSpec()
        .build();
  }
}
